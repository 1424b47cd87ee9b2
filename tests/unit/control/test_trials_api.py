"""An interface is tried before it is registered, and one that cannot work is refused when it is made."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from gateway.control.act.examples import DATASET, INTERFACE
from gateway.domain.directory import AnswerFormat
from gateway.domain.hosts import Host, HostState
from gateway.proxy.limits import Limits
from gateway.proxy.ports import Reach
from gateway.runtime.control.trying import Trials
from tests.support.control import World, done, refused

ROW = {"name": "张三", "id_number": "442000199001011234", "marital_status": "已婚", "phone": "13800000000"}


def tried(world: World, answer: Any, **fields: Any) -> dict[str, Any]:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return done(world.post("police", "/v1/interfaces/trial", {"interface": {**INTERFACE, **fields}, "answer": text}))


def test_pasted_answer_tells_what_would_be_released_under_which_grant(world: World) -> None:
    """Items by name, what never leaves, each standing grant; no value of the answer."""
    world.grant()
    found = tried(world, {"code": 0, "data": [ROW, {**ROW, "marital_status": None}]})
    assert found["rows"] == 2
    assert found["found"] == {"id_number": 2, "marital_status": 2, "name": 2}
    assert found["unclaimed"] == ["/phone"]
    assert found["envelope"] == ["code"]
    assert found["faults"] == []
    assert found["grants"] == [
        {
            "grant": "g-2026-0001",
            "department": "civil-affairs",
            "released": ["marital_status", "name"],
            "missing": [],
        }
    ]
    assert not any(str(value) in repr(found) for value in ROW.values())


@pytest.mark.parametrize(
    ("answer", "fields", "fault"),
    [
        ({"code": 0, "data": {"total": 1, "records": [ROW]}}, {}, "nothing in them"),
        ({"code": 0, "datas": [ROW]}, {}, "no rows where"),
        ({"code": 0, "data": []}, {}, "holds no rows"),
        ({"code": 0, "data": [{"name": "x"}]}, {}, "in no row"),
        ("<html>", {}, "not strict JSON"),
        ("name,other\nx,y\n", {"format": "csv", "places": {"id_number": "sfzh"}}, "header"),
    ],
)
def test_answer_that_the_entry_does_not_fit_is_told(
    world: World, answer: Any, fields: dict[str, Any], fault: str
) -> None:
    """Each in a sentence for the supplier, before any caller meets it."""
    assert any(fault in each for each in tried(world, answer, **fields)["faults"])


@pytest.mark.parametrize(
    ("changed", "answer"),
    [
        ({"format": AnswerFormat.CSV, "places": {"name": "a"}}, "a,b\nx,LONG\n"),
        ({"format": AnswerFormat.NDJSON, "places": {"name": "/a"}}, '{"a":"x","b":"LONG"}\n'),
        ({"format": AnswerFormat.XML, "rows": "/P/R", "places": {"name": "/A"}}, "<P><R><A>x</A><B>LONG</B></R></P>"),
    ],
)
def test_a_row_that_a_worker_would_not_hold_is_told_in_the_trial(
    world: World, changed: dict[str, Any], answer: str
) -> None:
    """One limit, in one place: what a trial finds to fit is not refused to callers for its length."""
    entry, dataset = world.store.any_interface("public-security", "household"), world.store.dataset(DATASET["id"])
    assert entry is not None
    assert dataset is not None
    entry = msgspec.structs.replace(entry, **{"rows": "", "envelope": (), **changed})
    for length, fits in ((1000, True), (Limits().row_bytes, False)):
        found = Trials.judge(entry, dataset, answer.replace("LONG", "y" * length).encode())
        assert any("too long" in fault for fault in found.faults) is not fits, found
        assert found.rows == int(fits)


def test_rows_one_level_deeper_work_once_the_entry_says_so(world: World) -> None:
    """The same answer under the right place, and as NDJSON and CSV."""
    assert tried(world, {"data": {"records": [ROW]}}, rows="/data/records")["rows"] == 1
    assert tried(world, json.dumps(ROW) + "\n" + json.dumps(ROW), format="ndjson")["rows"] == 2
    columns = {"name": "xm", "id_number": "sfzh"}
    told = tried(world, "xm,sfzh\na,b\n", format="csv", places=columns)
    assert (told["rows"], told["unplaced"]) == (1, ["marital_status"])


FAULTY: list[tuple[dict[str, Any], str]] = [
    ({"places": {}}, "places"),
    ({"places": {"name": "name"}}, "places"),
    ({"places": {"name": ""}}, "places"),
    ({"places": {"name": "/a~2b"}}, "places"),
    ({"places": {"name": "/a\nb"}}, "places"),
    ({"places": {"colour": "/c"}}, "places"),
    ({"rows": "data"}, "rows"),
    ({"rows": "/da~ta"}, "rows"),
    ({"empty_when": {"code": ["404"]}}, "empty_when"),
    ({"envelope": ["code", "name"]}, "envelope"),
    ({"envelope": ["NAME"]}, "envelope"),
    ({"envelope": ["姓名"]}, "envelope"),
    ({"envelope": ["xm"], "places": {"name": "/person/xm"}}, "envelope"),
    ({"methods": ["GET", "DELETE"]}, "methods"),
    ({"methods": ["GE T"]}, "methods"),
    ({"methods": []}, "methods"),
    ({"mode_methods": {"batch": ["GET"]}}, "mode_methods"),
    ({"mode_methods": {"query": ["TRACE"]}}, "mode_methods"),
    ({"mode_methods": {"query": []}}, "mode_methods"),
    ({"title": "a\r\nb"}, "title"),
    ({"scope_parameters": ["a\nb"]}, "scope_parameters"),
    ({"format": "opaque", "title": "a\r\nb"}, "title"),
    ({"title": "长" * 2001}, "title"),
    ({"concurrency": 0}, "concurrency"),
    ({"body_limit_bytes": -1}, "body_limit_bytes"),
    ({"connect_timeout_seconds": 0.0}, "connect_timeout_seconds"),
    ({"first_byte_timeout_seconds": -1.0}, "first_byte_timeout_seconds"),
    ({"total_timeout_seconds": 1e9}, "total_timeout_seconds"),
]


@pytest.mark.parametrize(("fields", "field"), FAULTY)
def test_interface_that_cannot_work_is_refused_when_it_is_made(
    world: World, fields: dict[str, Any], field: str
) -> None:
    """By registration and by trial alike, with the field it is about."""
    body = {**INTERFACE, "id": "faulty", **fields}
    for path, sent in (
        ("/v1/interfaces", body),
        ("/v1/interfaces/trial", {"interface": body, "answer": "{}"}),
        ("/v1/directory", {"interfaces": [body]}),
    ):
        said = refused(world.post("police", path, sent), "invalid-input")
        assert {fault["field"].rpartition(".")[2] for fault in said["faults"]} == {field}, path
    assert world.store.any_interface("public-security", "faulty") is None


def test_file_says_which_interfaces_were_not_tried_and_what_they_leave_out(world: World) -> None:
    """By name: those that it makes or changes, whom no question about a person finds, items that never leave."""
    file = {"interfaces": [{**INTERFACE, "id": "bare", "subject_parameter": None, "places": {"name": "/name"}}]}
    for check in ("true", "false"):
        said = done(world.ask("police", "POST", "/v1/directory", file, params={"check": check}))
        assert said["untried"] == ["public-security/bare"]
        assert [(each["interface"], each["field"]) for each in said["remarks"]] == [
            ("public-security/bare", "subject_parameter"),
            ("public-security/bare", "places"),
        ]
        assert "id_number, marital_status" in said["remarks"][1]["fault"]
    again = done(world.post("police", "/v1/directory", file))
    assert (again["untried"], again["remarks"]) == ([], []), "it stands just so"
    withdrawn = {"interfaces": [{**file["interfaces"][0], "active": False}]}
    assert done(world.post("police", "/v1/directory", withdrawn))["untried"] == []


def test_file_that_changes_an_entry_names_the_interfaces_that_no_longer_fit_it(world: World) -> None:
    """A sheet renames an item: what serves the entry goes on placing the old one, and gives the new one no place."""
    done(world.post("province", "/v1/interfaces", INTERFACE))
    renamed = [{**item, "name": "full_name"} if item["name"] == "name" else item for item in DATASET["items"]]
    said = done(world.post("province", "/v1/directory", {"datasets": [{**DATASET, "items": renamed}]}))
    told = {each["fault"] for each in said["remarks"] if each.get("interface") == "public-security/household"}
    assert told == {
        f"`name` is not an item of dataset `{DATASET['id']}`",
        "items without a place never leave: full_name",
    }


def test_registration_tries_what_it_is_told_to_and_says_what_it_found(world: World) -> None:
    """One that cannot work with the answer is not registered; where nothing was tried, that is said."""
    world.grant()
    body = {**INTERFACE, "id": "tried"}
    wrong = {**body, "trial": {"answer": json.dumps({"data": {"records": [ROW]}})}}
    said = refused(world.post("police", "/v1/interfaces", wrong), "invalid-input")
    assert {fault["field"] for fault in said["faults"]} == {"trial"}
    assert world.store.any_interface("public-security", "tried") is None
    right = {**body, "trial": {"answer": json.dumps({"data": [ROW]})}}
    key = {"Idempotency-Key": "registered-once"}
    made = done(world.post("police", "/v1/interfaces", right, headers=key))
    assert (made["trial"]["rows"], made["trial"]["unclaimed"], made["untried"]) == (1, ["/phone"], [])
    assert made["trial"]["grants"][0]["released"] == ["marital_status", "name"]
    object.__setattr__(world.services, "trials", None)
    assert done(world.post("police", "/v1/interfaces", right, headers=key))["trial"] == made["trial"], "replayed"
    untried = done(world.post("police", "/v1/interfaces", {**body, "title": "x"}))
    assert (untried["trial"], untried["untried"]) == (None, ["public-security/tried"])
    refused(world.post("stranger", "/v1/interfaces", {**right, "id": "theirs"}), "act-not-permitted")


def test_sample_call_goes_to_the_registered_host_alone_and_is_on_record(make_world: Callable[..., World]) -> None:
    """RECORD-FIRST, HOST-OWNED: nobody is called before the record, nor over another's host."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps({"code": 0, "data": [ROW]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    try:
        world = make_world()
        object.__setattr__(world.services, "trials", Trials(lambda _: Reach(("127.0.0.1",), None, "")))
        leading = {**INTERFACE, "upstream": f"http://127.0.0.1:{port}/api", "plain_http": True}
        body = {"interface": leading, "query": {"id_number": "1"}, "path": "/persons"}
        refused(world.post("police", "/v1/interfaces/trial", body), "invalid-input")
        refused(world.post("market-both", "/v1/interfaces/trial", body), "act-not-permitted")
        assert asked == []
        with world.store.transaction() as tx:
            tx.put_host(
                Host(
                    "public-security",
                    "127.0.0.1",
                    port,
                    is_tls=False,
                    addresses=("127.0.0.1",),
                    state=HostState.CONFIRMED,
                )
            )
        answer = world.post("police", "/v1/interfaces/trial", body)
        assert done(answer)["rows"] == 1
        assert answer.headers["Sharing-Record"]
        assert asked == ["/api/persons?id_number=1"]
    finally:
        server.shutdown()
        server.server_close()
    assert DATASET["id"] == INTERFACE["dataset"]
