"""Answers of the OpenAPI document: what each operation answers, with an example of each and of the problems it met.

`answers.json` holds what the API did answer when a story walked every operation; `python -m tests.answers` tells it
anew and writes the file. What varies from run to run stands there as a stand-in of the same form, and so does every
secret; long lists and texts are cut.

    {"GET /v1/grants/{id}": {
        "answers": [{"status": 200, "type": "application/json", "headers": {"ETag": …}, "body": …, "case": …}],
        "problems": {"not-found": {"detail": …}}}}

`body` is JSON, text, or base64 where the answer is neither; `case` tells answers of one status and type apart. Of a
problem only what the table of problems does not say is kept.
"""

import json
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from gateway.domain.errors import PROBLEMS, GatewayError, problem_document

BINARY = {"application/octet-stream", "application/vnd.apache.parquet"}


@cache
def kept_answers() -> dict[str, dict[str, Any]]:
    """What is kept, by method and path."""
    content = files(__package__).joinpath("answers.json").read_text(encoding="utf-8")
    kept: dict[str, dict[str, Any]] = json.loads(content)
    return kept


def responses_of(method: str, path: str, problem_schema: dict[str, Any]) -> dict[str, Any]:
    """The responses of one operation by status, as the document shows them; none for an operation that is not kept.

    Args:
        method: in any case.
        path: as the document names it.
        problem_schema: of a problem.
    """
    kept = kept_answers().get(f"{method.upper()} {path}", {"answers": [], "problems": {}})
    found: dict[int, Any] = {}
    for answer in kept["answers"]:
        response = _response(found, answer["status"])
        for name, value in answer["headers"].items():
            response.setdefault("headers", {})[name] = {"schema": {"type": "string"}, "example": value}
        if answer["type"]:
            content = response.setdefault("content", {}).setdefault(answer["type"], {"schema": _schema(answer)})
            content.setdefault("examples", {})[answer["case"]] = _example(answer)
    for code, members in kept["problems"].items():
        response = _response(found, PROBLEMS[code].status)
        content = response.setdefault("content", {})
        shown = content.setdefault("application/problem+json", {"schema": problem_schema, "examples": {}})
        shown["examples"][code] = {"value": problem_of(code, members)}
    return {str(status): found[status] for status in sorted(found)}


def may_refuse(method: str, operation: Mapping[str, Any]) -> set[str]:
    """The statuses of problems that an operation may give by what it takes, whether or not an example met them.

    Args:
        method: in any case.
        operation: of the document, with its parameters, body and security.
    """
    named = {each["name"] for each in operation.get("parameters", ()) if each["in"] in {"query", "header"}}
    within = any(each["in"] == "path" for each in operation.get("parameters", ()))
    body, acts = "requestBody" in operation, method.upper() != "GET"
    of_whom = "security" in operation
    return {
        "5XX",
        *(("400", "408", "413") if body or acts else ()),
        *(("422",) if body or named or within else ()),
        *(("401", "403") if of_whom else ("401", "429") if body else ()),
        *(("404",) if within or body or (of_whom and named) else ()),
        *(("409",) if of_whom and acts else ()),
        *(("412",) if "If-Match" in named else ()),
    }


def problem_of(code: str, members: dict[str, Any]) -> dict[str, Any]:
    """The problem document of a code, in English."""
    further = {name: value for name, value in members.items() if name != "detail"}
    return problem_document(GatewayError(code, members.get("detail", ""), **further))


def _response(found: dict[int, Any], status: int) -> dict[str, Any]:
    response: dict[str, Any] = found.setdefault(status, {"description": HTTPStatus(status).phrase})
    return response


def _schema(answer: dict[str, Any]) -> dict[str, Any]:
    """What can be said of a body of that type; a binary one has no schema (OpenAPI 3.1, "Binary data")."""
    if answer["type"] in BINARY or not isinstance(answer["body"], str):
        return {}
    return {"type": "string"}


def _example(answer: dict[str, Any]) -> dict[str, Any]:
    example = {"value": answer["body"]}
    return {"summary": "how it begins, in base64", **example} if answer["type"] in BINARY else example
