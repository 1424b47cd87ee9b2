"""The control plane's application: every route, one handler of errors, one OpenAPI document."""

from datetime import date
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from gateway import __version__
from gateway.control.act.bodies import DESCRIBED
from gateway.control.act.examples import EXAMPLES, standing_on
from gateway.control.act.nodes import NodeDoor
from gateway.control.act.problems import install_problems
from gateway.control.act.services import ControlServices
from gateway.control.app import health as routes_health
from gateway.control.app.answers import may_refuse, responses_of
from gateway.control.directory import (
    file as routes_directory_file,
)
from gateway.control.directory import (
    reorganising as routes_reorganising,
)
from gateway.control.directory import (
    routes as routes_directory,
)
from gateway.control.directory import (
    systems as routes_systems,
)
from gateway.control.grants import (
    figures as routes_figures,
)
from gateway.control.grants import (
    life as routes_lifecycle,
)
from gateway.control.grants import (
    orders as routes_orders,
)
from gateway.control.grants import (
    proposals as routes_proposals,
)
from gateway.control.grants import (
    reach as routes_reach,
)
from gateway.control.grants import (
    routes as routes_grants,
)
from gateway.control.policies import activation as routes_activation
from gateway.control.policies import routes as routes_policies
from gateway.control.processes import complaints as routes_complaints
from gateway.control.processes import duties as routes_duties
from gateway.control.processes import routes as routes_processes
from gateway.control.records import (
    erasing as routes_erasing,
)
from gateway.control.records import (
    exports as routes_exports,
)
from gateway.control.records import (
    log as routes_log,
)
from gateway.control.records import (
    retention as routes_retention,
)
from gateway.control.records import (
    routes as routes_records,
)
from gateway.control.records import (
    witness as routes_witness,
)
from gateway.control.sign_in.oauth import oauth_router
from gateway.control.suppliers import certificates as routes_certificates
from gateway.control.suppliers import credentials as routes_supplier_credentials
from gateway.control.suppliers import hosts as routes_hosts
from gateway.control.suppliers import trials as routes_trials
from gateway.domain.calendar import china_day
from gateway.domain.directory import Dataset, Department, Interface, Purpose, System
from gateway.domain.errors import PROBLEMS
from gateway.domain.grants import Grant
from gateway.domain.orders import Order
from gateway.domain.processes.register import PROCESSES

_REFERENCE = "#/components/schemas/{name}"
_SHOWN = (Department, System, Purpose, Dataset, Interface, Grant, Order)


def create_app(services: ControlServices) -> FastAPI:
    """The control plane over `services`."""
    app = FastAPI(
        title="Government data sharing gateway: control plane",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    app.state.services = services
    if services.roads is not None:
        app.add_middleware(NodeDoor, roads=services.roads)
    install_problems(app)
    for routes in (
        routes_directory,
        routes_directory_file,
        routes_reorganising,
        routes_hosts,
        routes_trials,
        routes_certificates,
        routes_supplier_credentials,
        routes_systems,
        routes_proposals,
        routes_grants,
        routes_figures,
        routes_lifecycle,
        routes_reach,  # before the orders, whose paths would take `reach` for an id
        routes_orders,
        routes_duties,
        routes_exports,  # before the records, whose paths would take `export` for an id
        routes_records,
        routes_erasing,
        routes_policies,
        routes_activation,
        routes_retention,
        routes_log,
        routes_witness,
        routes_health,
    ):
        app.include_router(routes.router)
    app.include_router(routes_complaints.router)
    for router in routes_processes.ROUTERS:
        app.include_router(router)
    if services.oauth is not None:
        app.include_router(oauth_router(services.oauth))
    app.openapi = lambda: _told_today(app)  # type: ignore[method-assign]
    return app


def _told_today(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with its examples as they stand on the day on which it is asked for."""
    services: ControlServices = app.state.services
    day = china_day(services.now())
    if getattr(app.state, "told_on", None) != day:
        app.state.told, app.state.told_on = _with_examples_on(day, _openapi(app)), day
    told: dict[str, Any] = app.state.told
    return told


def _with_examples_on(day: date, part: Any) -> Any:
    """A part of the document whose examples are told on `day`."""
    if isinstance(part, dict):
        return {
            name: standing_on(day, value) if name in {"example", "examples"} else _with_examples_on(day, value)
            for name, value in part.items()
        }
    if isinstance(part, list):
        return [_with_examples_on(day, value) for value in part]
    return part


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: bodies, what is shown, and one problem response for every error."""
    if app.openapi_schema:
        return app.openapi_schema
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    _, bodies = models_json_schema(
        [(model, "validation") for model in DESCRIBED.values()], ref_template=_REFERENCE.replace("name", "model")
    )
    schemas.update(bodies["$defs"])
    _, shown = msgspec.json.schema_components(_SHOWN, ref_template=_REFERENCE)
    schemas.update(shown)
    schemas["Problem"] = _PROBLEM
    document["components"]["securitySchemes"] = {
        "officer": {"type": "http", "scheme": "bearer", "description": _SESSION},
        "scrape": {"type": "http", "scheme": "bearer", "description": "the gateway's scrape credential"},
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            operation["responses"].pop("422", None)
            operation["responses"] = responses_of(method, path, _PROBLEM_SCHEMA) or operation["responses"]
            for content in operation.get("requestBody", {}).get("content", {}).values():
                model = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
                if model in EXAMPLES:
                    content.setdefault("example", EXAMPLES[model])
            if path.startswith(("/v1/", "/log/tile/entries")) and path not in _OPEN:
                operation["security"] = [{"officer": []}]
            if path == "/metrics":
                operation["security"] = [{"scrape": []}]
            for status in may_refuse(method, operation):
                operation["responses"].setdefault(status, _PROBLEM_RESPONSE)
    app.openapi_schema = document
    return document


_SESSION = (
    "an officer's session token; one that is bound to a key, since the sign-in bore a DPoP proof, is sent as "
    "`Authorization: DPoP`, with a proof for each request (RFC 9449)"
)

_OPEN = frozenset({"/v1/grants/lifecycle", *(f"/v1/{name}/lifecycle" for name in PROCESSES)})
"""Told to anybody: tables of the law, and of the policies in force."""

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457; English or Chinese by `Accept-Language`",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "enum": [f"/problems/{code}" for code in PROBLEMS]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "advice": {"type": "string"},
        "faults": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "row": {"type": "integer"},
                    "field": {"type": ["string", "null"]},
                    "fault": {"type": "string"},
                },
            },
        },
    },
}
_PROBLEM_SCHEMA: dict[str, Any] = {"$ref": "#/components/schemas/Problem"}
_PROBLEM_RESPONSE: dict[str, Any] = {
    "description": "a problem",
    "content": {"application/problem+json": {"schema": _PROBLEM_SCHEMA}},
}
