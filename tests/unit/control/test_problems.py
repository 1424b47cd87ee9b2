"""Every error is a problem: in the caller's language, with every fault, and never with an exception's text."""

import json
import logging
from typing import Any

import pytest

from gateway.control.act.bodies import DESCRIBED
from gateway.control.act.examples import GRANT
from gateway.control.act.problems import BODY_BYTES
from gateway.control.app import health as routes_health
from gateway.domain.errors import PROBLEMS
from gateway.domain.processes.register import PROCESSES
from tests.support.control import World, done, refused


def test_unknown_paths_and_methods_are_problems(world: World) -> None:
    """404 and 405 are the house's own problems; 405 says what is allowed."""
    refused(world.get("civil", "/v1/nowhere"), "not-found")
    for path, allowed in {
        "/v1/grants": "GET, POST",
        "/v1/records": "GET, POST",
        "/v1/officers": "GET, POST",
        "/v1/systems/a": "GET",
        "/v1/systems/a/keys/b": "DELETE",
    }.items():
        answer = world.ask("civil", "PUT", path)
        refused(answer, "method-not-allowed")
        assert answer.headers["allow"] == allowed, path


@pytest.mark.parametrize("hosts", [["a", "b"], ["a", "a"], ["a:99999"], ["a:-1"], ["u@a"], ["a/b"], ["a b"], ["[::1"]])
def test_a_request_names_one_host(world: World, hosts: list[str]) -> None:
    """As on the data plane: what two readers could take for two hosts is refused before anything is read."""
    headers = [("Host", each) for each in hosts]
    told = world._runner.run(world._client.get("/v1/grants", headers=headers))
    refused(told, "malformed-request")
    for host in ("a", "a:443", "a:", "127.0.0.1:8081", "[::1]:8081", ""):
        told = world._runner.run(world._client.get("/v1/grants", headers={"Host": host}))
        refused(told, "credential-missing")


@pytest.mark.parametrize("path", ["/v1/grants", "/v1/orders", "/v1/officers"])
def test_a_parameter_that_is_none_is_refused(world: World, path: str) -> None:
    """Left out in silence, a misspelt filter is answered with more than was asked for; and of two, one would do."""
    for asked in ("departmnt=civil-affairs", "subject=440000199001010010", "limit=1&limit=2", "limit=1&Limit=1"):
        told = refused(world.ask("registrar", "GET", f"{path}?{asked}"), "invalid-input")
        assert len(told["faults"]) == 1
        assert "4400" not in str(told)
    refused(world.ask(None, "GET", f"{path}?departmnt=x"), "credential-missing")
    assert world.ask("registrar", "GET", f"{path}?limit=1").is_success


def test_a_parameter_of_several_values_comes_several_times(world: World) -> None:
    assert done(world.ask("civil", "GET", "/v1/grants?state=issued&state=suspended"))["items"] == []


def test_a_stop_is_not_held_up_by_a_parameter(world: World) -> None:
    """Whatever its address bears besides, it takes away."""
    world.grant()
    path = f"/v1/grants/{GRANT['id']}/suspension?departmnt=x"
    assert world.post("police", path, {"emergency": True, "incident": "it leaks"}).is_success


def test_problems_speak_chinese_on_request(world: World) -> None:
    """`Accept-Language` chooses; the code stays."""
    answer = world.ask("civil", "GET", "/v1/grants/none", headers={"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.5"})
    document = refused(answer, "not-found")
    assert document["title"] == PROBLEMS["not-found"].title_zh
    assert answer.headers["content-language"] == "zh"


def test_faults_in_parameters_are_listed(world: World) -> None:
    """FastAPI's own checks become `invalid-input` with `faults`, by field."""
    document = refused(
        world.get("civil", "/v1/grants", limit=0, state="sleeping", expires_within_days=-1), "invalid-input"
    )
    assert {fault["field"].partition(".")[0] for fault in document["faults"]} == {
        "limit",
        "state",
        "expires_within_days",
    }


def test_credentials_are_asked_for_by_challenge(world: World) -> None:
    """401 bears `WWW-Authenticate`, also where the token is wrong; the token is not repeated."""
    missing = world.get(None, "/v1/grants")
    refused(missing, "credential-missing")
    assert missing.headers["www-authenticate"].startswith("Bearer")
    wrong = world.ask(None, "GET", "/v1/grants", headers={"Authorization": "Bearer forged.token.here"})
    refused(wrong, "credential-invalid")
    assert "forged" not in wrong.text


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b'{"reason": "x"} trailing', b"[1, 2"])
def test_what_is_no_json_is_malformed(world: World, body: bytes) -> None:
    """A body that cannot be read is told apart from one with faults."""
    answer = world.ask(
        "police", "POST", "/v1/orders/o-1/lift", content=body, headers={"Content-Type": "application/json"}
    )
    refused(answer, "malformed-request")


def test_bodies_have_a_content_type_and_a_bound(world: World) -> None:
    """What is no JSON by its type is refused, and what is too large before it is read whole."""
    plain = {"Content-Type": "text/plain"}
    refused(world.ask("police", "POST", "/v1/orders", content=b"{}", headers=plain), "malformed-request")
    large = {"Content-Type": "application/json"}
    refused(world.ask("police", "POST", "/v1/orders", content=b"x" * (BODY_BYTES + 1), headers=large), "body-too-large")

    async def unannounced() -> Any:
        for _ in range(3):
            yield b"x" * (BODY_BYTES // 2)

    refused(world.ask("police", "POST", "/v1/orders", content=unannounced(), headers=large), "body-too-large")


def test_no_exception_text_leaves_or_is_logged(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """INVARIANT NO-VALUES: a failure nobody foresaw is `internal`; its text stands neither in answer nor log."""

    def broken(_value: object) -> None:
        raise RuntimeError("440106199001011234")

    monkeypatch.setattr(routes_health, "json_response", broken)
    with caplog.at_level(logging.DEBUG):
        answer = world.get(None, "/healthz")
    document = refused(answer, "internal")
    assert "440106" not in answer.text
    assert "440106" not in caplog.text
    assert "detail" not in document


def test_openapi_names_every_body_problem_and_example(world: World) -> None:
    """The document is whole: no dangling reference, an example for each act, one problem for every error."""
    document = world.get(None, "/openapi.json").json()
    schemas = document["components"]["schemas"]

    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            found = {node["$ref"].rpartition("/")[2]} if isinstance(node.get("$ref"), str) else set()
            return found.union(*(references(each) for each in node.values()))
        return set().union(*map(references, node)) if isinstance(node, list) else set()

    assert references(document) <= set(schemas)
    assert set(schemas["Problem"]["properties"]["type"]["enum"]) == {f"/problems/{code}" for code in PROBLEMS}
    bodies = {
        (path, method): operation["requestBody"]["content"]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "requestBody" in operation
    }
    assert len(bodies) > 15
    # A file is sent as it is, and has no example in JSON.
    files = {place for place, content in bodies.items() if "application/json" not in content}
    assert files == {(f"/v1/{name}/{{id}}/attachments", "post") for name in PROCESSES}
    documents = {place: content for place, content in bodies.items() if place not in files}
    assert [place for place, content in documents.items() if not content["application/json"].get("example")] == []
    for content in documents.values():
        model = DESCRIBED.get(content["application/json"]["schema"].get("$ref", "").rpartition("/")[2])
        if model is not None:
            model.model_validate_json(json.dumps(content["application/json"]["example"]))
    assert "violation found" not in schemas["GrantBody"]["description"]
    assert schemas["GrantBody"]["properties"]["legal_basis"]["description"] == "Art. 20: basis."
    for operations in document["paths"].values():
        for operation in operations.values():
            assert "5XX" in operation["responses"]
            assert "default" not in operation["responses"], "each status that may come is told"
