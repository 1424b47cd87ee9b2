"""What a first draft looks like: a FastAPI route, httpx to the supplier, Cedar parsed from strings each call."""

import os

import cedarpy
import httpx
from fastapi import FastAPI, Request, Response

SUPPLIER = os.environ["SUPPLIER"]
POLICY = """
permit(principal in Department::"civil-affairs", action == Action::"query", resource == Dataset::"household")
when { context.purpose == "marriage-registration" };
"""
ENTITIES = """[
 {"uid": {"type": "System", "id": "marriage-desk"}, "attrs": {},
  "parents": [{"type": "Department", "id": "civil-affairs"}]},
 {"uid": {"type": "Department", "id": "civil-affairs"}, "attrs": {}, "parents": []},
 {"uid": {"type": "Dataset", "id": "household"}, "attrs": {}, "parents": []}
]"""
GRANTED = ("csrq", "hyzk", "xm")

app = FastAPI()
client = httpx.AsyncClient(limits=httpx.Limits(max_connections=256, max_keepalive_connections=256))


@app.get("/api/{path}")
async def call(path: str, request: Request) -> Response:
    """One call."""
    asked = {
        "principal": f'System::"{request.headers["x-system"]}"',
        "action": 'Action::"query"',
        "resource": 'Dataset::"household"',
        "context": {"purpose": request.headers["sharing-purpose"]},
    }
    answer = cedarpy.is_authorized(asked, POLICY, ENTITIES)
    if not answer.allowed:
        return Response(status_code=403)
    found = (await client.get(f"{SUPPLIER}/api/{path}")).json()
    rows = [{item: row[item] for item in GRANTED} for row in found["data"]]
    return Response(httpx.Response(200, json={**found, "data": rows}).content, media_type="application/json")
