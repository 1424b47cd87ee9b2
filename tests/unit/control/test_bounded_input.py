"""What is sent to the control plane is bounded in depth and in what it costs, before and after sign-in."""

import base64
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.client import new_private_key
from gateway.client.keys import ClientKey
from gateway.control.act.examples import CERTIFICATES
from gateway.control.act.nodes import own_cursor
from gateway.domain.certificates import CertificateUse
from gateway.domain.errors import GatewayError
from gateway.domain.nesting import MAX_DEPTH, is_too_deep
from gateway.identity.callers.dpop import canonical_uri
from gateway.identity.keys.supplier_certificates import MAX_PEM_BYTES, read_certificates
from gateway.identity.strict import MAX_TOKEN_BYTES, Unreadable, parse_base64url, parse_jws, parse_object
from gateway.ledger.index.queries import parse_cursor
from gateway.ledger.log.record_ids import parse_record_id
from gateway.store.directory.file import read_json
from gateway.store.directory.openapi import derive_interface
from gateway.store.directory.sheets import read_tables
from gateway.store.directory.workbook import write_workbook
from gateway.store.values import decode_cursor
from tests.support.control import World, refused
from tests.support.state import dataset

DEEP = [b"[" * 200_000, b'{"a":' * 200_000, b"[" * 100_000 + b"]" * 100_000, b'[{"a":' * 70 + b"1" + b"}]" * 70]


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((depth_of(each) for each in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((depth_of(each) for each in value), default=0)
    return 0


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from(list('ab[]{}"\\')), max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.sampled_from(list('a"[\\{')), max_size=3), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(_json, st.integers(0, 6), st.booleans())
def test_depth_is_told_as_a_parser_would_find_it(value: Any, most: int, is_ascii: bool) -> None:
    """For every JSON text: too deep exactly where some value stands within more containers than allowed."""
    text = json.dumps(value, ensure_ascii=is_ascii).encode()
    assert is_too_deep(text, most) is (depth_of(value) > most)


ROUTES = [
    ("POST", "/v1/grants"),
    ("POST", "/v1/systems"),
    ("POST", "/v1/directory"),
    ("POST", "/v1/records/search"),
    ("POST", "/v1/policies/compare"),
    ("POST", "/sign-in"),
    ("PUT", "/v1/departments/x"),
]


def test_deep_json_is_malformed_on_every_route(world: World) -> None:
    """One clear 400, from an officer and from nobody; never a 500."""
    headers = {"Content-Type": "application/json"}
    for method, path in ROUTES:
        for body in DEEP:
            for officer in ("registrar", None):
                answer = world.ask(officer, method, path, None, content=body, headers=headers)
                assert answer.status_code in {400, 401, 404, 405, 413}, (path, answer.text)
                if answer.status_code == 400:
                    assert answer.json()["type"] == "/problems/malformed-request"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/grants/g-2026-0001/suspension", b'{"emergency": true, "incident": "a", "incident": "b"}'),
        ("/v1/orders", b'{"kind": "emergency", "reach": "dataset", "kind": "suspension"}'),
        ("/v1/systems", b'{"id": "a", "keys": [{"kid": "a", "kid": "b"}]}'),
        ("/v1/directory", b'{"departments": [], "departments": []}'),
        ("/v1/records/search", b'{"grant": "a", "subject": "x", "subject": "y"}'),
        ("/v1/systems", b'{"id": "a", "\\u0069d": "b"}'),
        ("/v1/systems", b'{"' + b"a" * 70_000 + b'": 1, "id": "a", "id": "b"}'),
    ],
)
def test_a_name_that_stands_twice_in_a_body_is_malformed(world: World, path: str, body: bytes) -> None:
    """Readers differ on which of the two holds: whoever looked at it first may have seen the other."""
    answer = world.ask("registrar", "POST", path, content=body, headers={"Content-Type": "application/json"})
    assert "stands twice" in refused(answer, "malformed-request")["detail"]


def test_who_is_not_signed_in_sends_little_and_is_told_little(world: World) -> None:
    """Reading a body costs before anybody answers for it; of very many faults a thousand are named."""
    many = json.dumps({f"field-{number}": 1 for number in range(3000)})
    headers = {"Content-Type": "application/json"}
    for path in ("/complaints", "/sign-in", "/sign-in/enrolment", "/oauth/token"):
        refused(world.ask(None, "POST", path, None, content=many + " " * (64 << 10), headers=headers), "body-too-large")
    told = refused(world.ask("police", "POST", "/v1/orders", None, content=many, headers=headers), "invalid-input")
    assert len(told["faults"]) == 1000
    assert told["detail"] == "the input has 3004 faults"


CURSORS = [
    base64.urlsafe_b64encode(b"[" * 1500).decode(),
    base64.urlsafe_b64encode(b"[" + b"9" * 400 + b"]").decode(),
    base64.urlsafe_b64encode(b'["\\u0000"]').decode(),
    base64.urlsafe_b64encode(b'["x", "y", "z"]').decode(),
    base64.urlsafe_b64encode(f"{'9' * 300}.{'9' * 300}".encode()).decode(),
    "é" * 10,
    "=" * 2000,
    "A" * 2047,
    "deadbeef.AAAA",
    ".",
]


LISTS = ("grants", "systems", "departments", "datasets", "interfaces", "orders", "officers", "purposes", "records")


def test_cursor_that_no_list_gave_is_invalid(world: World) -> None:
    """Deep, huge, with NUL, of another list, of another node: refused by every list, and never a 500."""
    for name in LISTS:
        for cursor in CURSORS:
            answer = world.ask("registrar", "GET", f"/v1/{name}", None, params={"cursor": cursor})
            assert answer.status_code in {200, 403, 422}, (name, cursor[:40], answer.text)
            if answer.status_code == 422:
                assert answer.json()["type"] == "/problems/invalid-input"


ENTRY = dataset("e", supplier="s")


def openapi(schemas: dict[str, Any], root: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": root}}
    answer = {"200": {"description": "x", "content": content}}
    return {
        "openapi": "3.0.0",
        "servers": [{"url": "https://s.example"}],
        "paths": {"/p": {"get": {"responses": answer}}},
        "components": {"schemas": schemas},
    }


def to(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


HOSTILE_SCHEMAS = {
    "two ways to itself": openapi({"N": {"properties": {"a": to("N"), "b": to("N")}}}, to("N")),
    "ten ways to itself": openapi({"N": {"properties": {f"p{n}": to("N") for n in range(10)}}}, to("N")),
    "all of itself": openapi({"N": {"allOf": [to("N")] * 8}}, to("N")),
    "chain of doublings": openapi(
        {f"N{n}": {"allOf": [to(f"N{n + 1}")] * 4} for n in range(12)} | {"N12": {"properties": {"a": {}}}}, to("N0")
    ),
    "a hundred thousand fields": openapi({}, {"properties": {f"p{n}": {} for n in range(100_000)}}),
}


@pytest.mark.parametrize("document", HOSTILE_SCHEMAS.values(), ids=HOSTILE_SCHEMAS.keys())
def test_openapi_document_that_multiplies_is_refused(document: dict[str, Any]) -> None:
    """A document of a kilobyte whose schemas lead back to themselves takes a bounded number of steps."""
    with pytest.raises(GatewayError) as refused:
        derive_interface(document, "/p", dataset=ENTRY, id="i")
    assert refused.value.code == "invalid-input"


def refuses(parse: Callable[[Any], Any], given: Any) -> None:
    try:
        parse(given)
    except (GatewayError, Unreadable):
        return


def token(payload: bytes) -> bytes:
    key = ClientKey(_KEY)
    head, _, rest = key.assertion("a", "b", 1).encode().partition(b".")
    return head + b"." + base64.urlsafe_b64encode(payload).rstrip(b"=") + b"." + rest.rpartition(b".")[2]


_KEY = new_private_key()

PARSERS: dict[str, tuple[Callable[[Any], Any], Callable[[int], Any]]] = {
    "depth: open": (is_too_deep, lambda n: b"[" * n),
    "depth: pairs": (is_too_deep, lambda n: b"[]" * n),
    "depth: strings": (is_too_deep, lambda n: b'["' + b'\\"' * n),
    "depth: quotes": (is_too_deep, lambda n: b"[" * 99 + b'"' * n),
    "depth: mixed": (is_too_deep, lambda n: b"[{]}" * n),
    "body": (msgspec.json.decode, lambda n: b"[" + b"1," * n + b"1]"),
    "directory file": (read_json, lambda n: b'{"departments":[' + b"{}," * (n // 64) + b"{}]}"),
    "cursor": (lambda text: decode_cursor(text, (str,)), lambda n: "W" * n),
    "records' cursor": (parse_cursor, lambda n: "MTIz" * n),
    "node's cursor": (lambda text: own_cursor("", text), lambda n: "." * n),
    "record id": (parse_record_id, lambda n: "1" * n),
    "token": (lambda text: parse_jws(text, types=frozenset({"jwt"})), lambda n: token(b"[" * n)),
    "token of dots": (lambda text: parse_jws(text, types=frozenset({"jwt"})), lambda n: b"." * n),
    "claims": (lambda text: parse_object(text, most_brackets=10**9), lambda n: b'{"a":"' + b"\\u0041" * n + b'"}'),
    "base64": (parse_base64url, lambda n: b"A" * n),
    "proof's URI": (canonical_uri, lambda n: "https://h/" + "%41" * n),
    "OpenAPI fields": (
        lambda document: derive_interface(document, "/p", dataset=ENTRY, id="i"),
        lambda n: openapi({}, {"properties": {f"p{k}": {"title": "x" * 9} for k in range(n // 8)}}),
    ),
}
SMALL, TIMES = 2_000, 16

COLUMNS = "信息资源名称,信息资源代码,信息项名称"


def table(text: str) -> Callable[[Path], Any]:
    """A directory's sheet as CSV, to be read."""

    def read(folder: Path) -> Any:
        path = folder / "sheet.csv"
        path.write_text(text, "utf-8")
        return lambda: read_tables(path)

    return read


def workbook(rows: Iterable[Sequence[str]] = (), **parts: str) -> Callable[[Path], Any]:
    """A workbook of these rows, to be read; `parts` stand in it instead of its own."""

    def read(folder: Path) -> Any:
        path = folder / "book.xlsx"
        with (
            zipfile.ZipFile(io.BytesIO(write_workbook([("sheet", rows)]))) as made,
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as changed,
        ):
            for name in made.namelist():
                short = name.rpartition("/")[2].partition(".")[0]
                changed.writestr(name, parts.get(short, made.read(name)))
        return lambda: read_tables(path)

    return read


def relations(target: str) -> str:
    return f'<Relationships><Relationship Id="rId1" Type="x/worksheet" Target="{target}"/></Relationships>'


def sheet(inner: str) -> str:
    return f"<worksheet><sheetData>{inner}</sheetData></worksheet>"


def certificates(pem: str) -> Callable[[Path], Any]:
    """An upload of certificates, to be read."""
    text = pem.encode()[:MAX_PEM_BYTES]
    return lambda _: (
        lambda: read_certificates("s", "n", CertificateUse.AUTHORITY, text, seal=lambda *_: "", now_unix=1.8e9)
    )


BLOCK = CERTIFICATES["pem"]
FILES: dict[str, tuple[int, Callable[[int], Callable[[Path], Any]]]] = {
    "CSV: rows": (60, lambda n: table(COLUMNS + "\na,b,c" * n)),
    "CSV: columns": (200, lambda n: table(COLUMNS + ",x" * n + "\na,b,c" + ",y" * n)),
    "CSV: columns that nobody knows": (60, lambda n: table(COLUMNS + "".join(f",信息{k}" for k in range(n)))),
    "CSV: a name of brackets": (600, lambda n: table("信息资源名称" + "()" * n + ",信息资源代码")),
    "CSV: a name of open brackets": (2000, lambda n: table("信息资源名称" + "(" * n + ",信息资源代码")),
    "CSV: a name of marks": (2000, lambda n: table("信息资源名称" + "*" * n + "a" + "*" * n + ",信息资源代码")),
    "CSV: a name of blanks": (2000, lambda n: table("信息资源名称" + " " * n + "a,信息资源代码")),
    "CSV: dividers": (2000, lambda n: table(";|" * n)),
    "CSV: a quotation without an end": (4000, lambda n: table(COLUMNS + '\n"' + "a\n" * n)),
    "workbook: rows": (60, lambda n: workbook([COLUMNS.split(","), *[["a", "b", "c"]] * n])),
    "workbook: a row": (200, lambda n: workbook([COLUMNS.split(",") + ["x"] * min(n, 4000)])),
    "workbook: a text": (2000, lambda n: workbook([COLUMNS.split(","), ["_x0041_" * n]])),
    "workbook: a path that goes up": (20_000, lambda n: workbook(workbook=relations("a/../" * n + "x"))),
    "workbook: a path of nothing that goes up": (600, lambda n: workbook(workbook=relations("a" + "/" * n + "../x"))),
    "workbook: depth": (600, lambda n: workbook(sheet1=sheet("<row>" * n + "</row>" * n))),
    "workbook: cells out of place": (5000, lambda n: workbook(sheet1=sheet('<row><c r="ZZ1"/></row>' * n))),
    "workbook: styles": (5000, lambda n: workbook(styles="<s><cellXfs>" + '<xf numFmtId="1"/>' * n + "</cellXfs></s>")),
    "workbook: a format": (
        20_000,
        lambda n: workbook(styles=f'<s><numFmts><numFmt numFmtId="1" formatCode="{"[" * n}"/></numFmts></s>'),
    ),
    "certificates": (2, lambda n: certificates(BLOCK * n)),
    "certificates: beginnings": (550, lambda n: certificates("-----BEGIN CERTIFICATE-----\n" * n)),
    "certificates: a block without an end": (15_000, lambda n: certificates("-----BEGIN CERTIFICATE-----\n" + "A" * n)),
    "certificates: blocks without an end": (60, lambda n: certificates(("-----BEGIN A-----\n" + "A" * 900) * n)),
    "certificates: dashes": (15_000, lambda n: certificates("-" * n)),
}


@pytest.mark.deep
@pytest.mark.parametrize("name", FILES)
def test_cost_of_a_file_grows_with_it_and_no_faster(name: str, tmp_path: Path) -> None:
    """As below, for what is read of directory files, workbooks and certificates: sixteen times, not 256."""
    length, make = FILES[name]
    short, long = (make(size)(tmp_path) for size in (length, length * TIMES))
    growths: list[float] = []
    for _ in range(5):
        # Each reads its own file: both have one name.
        make(length)(tmp_path)
        least = min(_cost(short) for _ in range(4))
        make(length * TIMES)(tmp_path)
        growths.append(min(_cost(long) for _ in range(2)) / max(least, 300e-6))
        if growths[-1] < TIMES * 4:
            break
    print(f"{name}: {TIMES} times the input, {min(growths):.1f} times the time")
    assert min(growths) < TIMES * 4


def _cost(read: Callable[[], Any]) -> float:
    began = time.process_time()
    refuses(lambda _: read(), None)
    return time.process_time() - began


@pytest.mark.deep
@pytest.mark.parametrize("name", PARSERS)
def test_cost_grows_with_the_input_and_no_faster(name: str) -> None:
    """Sixteen times the input takes sixteen times the processor time, not 256: told by the best of several tries."""
    parse, make = PARSERS[name]

    def cost(given: Any) -> float:
        best = float("inf")
        for _ in range(5):
            began = time.process_time()
            for _ in range(3):
                refuses(parse, given)
            best = min(best, time.process_time() - began)
        return max(best, 20e-6)

    small, large = make(SMALL), make(SMALL * TIMES)
    growths = []
    for _ in range(5):
        growths.append(cost(large) / cost(small))
        if growths[-1] < TIMES * 5:
            break
    print(f"{name}: {TIMES} times the input, {min(growths):.1f} times the time")
    assert min(growths) < TIMES * 5


def test_whole_stack_stays_within_the_depth_it_states() -> None:
    """The bound is far below what any parser or walker of ours gives up at."""
    text = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert not is_too_deep(text)
    assert is_too_deep(b"[" + text + b"]")
    value = msgspec.json.decode(text)
    msgspec.json.encode(value, order="deterministic")
    assert MAX_TOKEN_BYTES == 8192
