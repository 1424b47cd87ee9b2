"""An interface proposed from a supplier's OpenAPI document: where the rows are, and where each item stands."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.directory import AnswerFormat, DataItem, Interface, SharingMode
from gateway.domain.errors import GatewayError
from gateway.store.directory.openapi import DerivedInterface, derive_interface
from gateway.store.directory.validation import validate_interface
from tests.support.state import dataset

ENTRY = dataset(
    items=(
        DataItem("name", "姓名"),
        DataItem("id_number", "身份证号"),
        DataItem("address", "住址"),
        DataItem("photo", "照片"),
    )
)
PERSON = {
    "type": "object",
    "properties": {
        "xm": {"type": "string", "description": "姓名"},
        "ID_NUMBER": {"type": "string"},
        "home": {"allOf": [{"$ref": "#/components/schemas/Address"}]},
        "a/b~c": {"type": "string"},
    },
}
ADDRESS = {"type": "object", "properties": {"full": {"type": "string", "title": "住址"}}}


def document(schema: Any, kind: str = "application/json; charset=utf-8", **operation: Any) -> dict[str, Any]:
    answer = {"description": "ok", "content": {kind: {"schema": schema}}}
    return {
        "openapi": "3.1.0",
        "servers": [{"url": "https://household.example/api/"}],
        "paths": {
            "/persons/{id}/x": {
                "parameters": [{"name": "id", "in": "path"}],
                "get": {
                    "summary": "查询人口",
                    "parameters": [{"$ref": "#/components/parameters/Region"}],
                    "responses": {"200": answer},
                    **operation,
                },
                "post": {"responses": {}},
            }
        },
        "components": {
            "schemas": {"Person": PERSON, "Address": ADDRESS, "Loop": {"$ref": "#/components/schemas/Loop"}},
            "parameters": {"Region": {"name": "region", "in": "query"}},
        },
    }


def derive(schema: Any, **arguments: Any) -> DerivedInterface:
    return derive_interface(document(schema, **arguments), "/persons/{id}/x", dataset=ENTRY, id="persons")


ROWS = {"type": "array", "items": {"$ref": "#/components/schemas/Person"}}
ENVELOPE = {"type": "object", "properties": {"code": {"type": "integer"}, "message": {"type": "string"}, "data": ROWS}}


def test_usual_envelope_gives_rows_places_and_envelope() -> None:
    """Items are found by name, title or description, at any depth of a row; the rest is named as unclaimed."""
    found = derive(ENVELOPE)
    assert found.interface.rows == "/data"
    assert found.interface.places == {"name": "/xm", "id_number": "/ID_NUMBER", "address": "/home/full"}
    assert found.interface.envelope == ("code", "message")
    assert found.interface.upstream == "https://household.example/api/persons"
    assert found.interface.methods == ("GET",)
    assert any("not proposed: POST" in note for note in found.notes)
    assert found.interface.modes == (SharingMode.QUERY, SharingMode.VERIFY)
    assert found.interface.title == "查询人口"
    assert found.unplaced == ("photo",)
    assert found.unclaimed == ("/a~1b~0c",)
    assert found.query_parameters == ("region",)
    assert any("template" in note for note in found.notes)
    assert validate_interface(found.interface, ENTRY) == []


@pytest.mark.parametrize(
    ("schema", "rows"),
    [
        (ROWS, ""),
        ({"properties": {"result": {"properties": {"list": ROWS, "total": {}}}}}, "/result/list"),
        ({"properties": {"tags": {"items": {"type": "string"}}, "datas": ROWS}}, "/datas"),
        ({"properties": {"code": {}, "data": {"$ref": "#/components/schemas/Person"}}}, "/data"),
        ({"$ref": "#/components/schemas/Person"}, ""),
    ],
    ids=["root array", "nested", "array of strings beside", "single row", "root object"],
)
def test_rows_are_found_where_they_are(schema: Any, rows: str) -> None:
    """Rows stand at the root, in the envelope or deeper, as a list or as a single object."""
    found = derive(schema)
    assert found.interface.rows == rows
    assert found.interface.places["name"] == "/xm"


@pytest.mark.parametrize(
    ("kind", "format_", "places"),
    [
        ("application/x-ndjson", AnswerFormat.NDJSON, {"name": "/xm"}),
        ("text/csv", AnswerFormat.CSV, {"name": "xm"}),
        ("application/pdf", AnswerFormat.OPAQUE, {}),
    ],
)
def test_other_formats(kind: str, format_: AnswerFormat, places: dict[str, str]) -> None:
    """Lines of JSON are rows, CSV has columns, and what is neither cannot be filtered."""
    found = derive({"properties": {"xm": {"title": "姓名"}}}, kind=kind).interface
    assert (found.format, found.places) == (format_, places)


@pytest.mark.parametrize(
    ("openapi", "said"),
    [
        ({}, "no `paths`"),
        ({"paths": {}}, "no path"),
        ({"paths": {"/persons/{id}/x": {}}}, "has no GET"),
        ({**document(ROWS), "servers": []}, "no server"),
        ({**document(ROWS), "servers": [{"url": "/relative"}]}, "no server"),
        (document({"$ref": "https://elsewhere.example/x.json"}), "out of the document"),
        (document({"$ref": "#/components/schemas/None"}), "leads nowhere"),
        (document({"$ref": "#/components/schemas/Loop"}), "in a circle"),
    ],
)
def test_what_cannot_be_derived_is_refused_in_words(openapi: dict[str, Any], said: str) -> None:
    """A document that lacks something, or leads out of itself, is refused; nothing is fetched."""
    with pytest.raises(GatewayError, match=said) as refused:
        derive_interface(openapi, "/persons/{id}/x", dataset=ENTRY, id="persons")
    assert refused.value.members["faults"]


def test_schema_that_holds_itself_ends() -> None:
    """A tree-shaped answer, whose schema leads back to itself, is followed to a bound."""
    openapi = document({"$ref": "#/components/schemas/Node"})
    openapi["components"]["schemas"]["Node"] = {
        "properties": {"xm": {"title": "姓名"}, "child": {"$ref": "#/components/schemas/Node"}}
    }
    found = derive_interface(openapi, "/persons/{id}/x", dataset=ENTRY, id="persons", upstream="http://other.example/")
    assert found.interface.places["name"].endswith("/xm")
    assert found.interface.plain_http


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["properties", "items", "allOf", "$ref", "content", "schema", "application/json", "200", "data"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(schema=JSON, responses=JSON, parameters=JSON)
def test_any_document_is_derived_or_refused(schema: Any, responses: Any, parameters: Any) -> None:
    """A document that is no OpenAPI ends in a refusal or a proposal, never a traceback."""
    for openapi in (document(schema), document(ROWS, responses=responses), document(ROWS, parameters=parameters)):
        try:
            found = derive_interface(openapi, "/persons/{id}/x", dataset=ENTRY, id="persons")
        except GatewayError as error:
            assert error.code == "invalid-input"  # noqa: PT017 - a refusal is one of two right answers
        else:
            assert set(found.interface.places) <= ENTRY.item_names


def company(**changes: Any) -> dict[str, Any]:
    """A single record that holds a list, as a company with its shareholders does."""
    shareholders = {
        "type": "array",
        "items": {"type": "object", "properties": {"name": {"type": "string"}, "share": {"type": "integer"}}},
    }
    properties = {
        "uscc": {"type": "string"},
        "name": {"type": "string"},
        "status": {"type": "string"},
        "shareholders": shareholders,
    }
    return {"type": "object", "properties": {**properties, **changes}}


COMPANY = dataset(items=(DataItem("uscc"), DataItem("name"), DataItem("status"), DataItem("shareholders")))
NULL = {"type": "null"}


def derived(schema: Any, **arguments: Any) -> DerivedInterface:
    return derive_interface(document(schema), "/persons/{id}/x", dataset=COMPANY, id="c", **arguments)


@pytest.mark.parametrize(
    ("schema", "rows", "name", "envelope"),
    [
        (company(), "", "/name", ()),
        ({"type": "object", "properties": {"code": {}, "data": company()}}, "/data", "/name", ("code",)),
        ({"type": "object", "properties": {"code": {}, "status": {}, "data": company()}}, "/data", "/name", ("code",)),
        ({"type": "object", "properties": {"企业名称": {"title": "name"}, "data": company()}}, "/data", "/name", ()),
        (
            {
                "type": "object",
                "properties": {
                    "content": {"type": "array", "items": company()},
                    "pageable": {"type": "object", "properties": {"sort": {"type": "array", "items": {}}}},
                    "totalElements": {"type": "integer"},
                },
            },
            "/content",
            "/name",
            ("totalElements",),
        ),
        ({"properties": {"data": {"anyOf": [{"type": "array", "items": company()}, NULL]}}}, "/data", "/name", ()),
        ({"properties": {"data": {"oneOf": [NULL, company()]}}}, "/data", "/name", ()),
        (company(owner={"type": "object", "properties": {"name": {}}}), "", "/name", ()),
    ],
)
def test_rows_are_where_the_items_are_and_the_nearest_field_wins(
    schema: Any, rows: str, name: str, envelope: tuple[str, ...]
) -> None:
    """A list inside a record is no record list, and the envelope holds no item."""
    found = derived(schema)
    assert (found.interface.rows, found.interface.places["name"]) == (rows, name)
    assert found.interface.places["shareholders"] == "/shareholders"
    assert found.interface.envelope == envelope
    assert found.interface.methods == ("GET",)


def test_ambiguity_is_told_and_so_is_what_asks_for_a_person() -> None:
    """Two fields of one name, and parameters of which one may name the subject."""
    found = derived(company(owner={"type": "object", "properties": {"name": {}}}))
    assert any("/owner/name" in note for note in found.notes)
    assert any("subject_parameter" in note for note in found.notes)


@pytest.mark.parametrize(
    ("schema", "rows", "others"),
    [
        (company(), "", "/shareholders"),
        ({"properties": {"content": {"items": company()}, "name": {}}}, "/content", "the root"),
        ({"properties": {"owner": {"properties": {"name": {}}}, "data": company()}}, "/data", "the root, /owner"),
        ({"properties": {"data": {"items": {"properties": {"name": {}}}}, "code": {}}}, "/data", None),
        ({"properties": {"data": {"properties": {"name": {}}}, "code": {}}}, "/data", None),
    ],
)
def test_rows_of_an_entry_of_one_item_are_not_a_list_inside_its_record(schema: Any, rows: str, others: str) -> None:
    """Where a record and a list within it hold the items alike, the nearest goes first; other places are told."""
    entry = dataset(items=(DataItem("name"),))
    found = derive_interface(document(schema), "/persons/{id}/x", dataset=entry, id="c")
    assert (found.interface.rows, found.interface.places) == (rows, {"name": "/name"})
    told = [note.partition("; fields of items stand at ")[2] for note in found.notes if "rows were taken" in note]
    assert [note.removesuffix(" too").startswith(others or "") for note in told] == ([True] if others else [])


def test_only_what_reads_is_proposed_and_only_if_it_is_named() -> None:
    """POST where the person says so; DELETE never."""
    assert derived(company(), methods=("POST",)).interface.methods == ("POST",)
    for methods in (("DELETE",), ("PATCH",), ()):
        with pytest.raises(GatewayError, match="reads"):
            derived(company(), methods=methods)


def test_swagger_two_is_read() -> None:
    """Schemas in the response, the server by host and base path, definitions by reference."""
    swagger = {
        "swagger": "2.0",
        "host": "company.example",
        "basePath": "/api",
        "schemes": ["http", "https"],
        "produces": ["application/hal+json"],
        "paths": {
            "/company": {
                "get": {"responses": {"200": {"description": "", "schema": {"$ref": "#/definitions/Company"}}}},
                "delete": {},
            }
        },
        "definitions": {"Company": company()},
    }
    found = derive_interface(swagger, "/company", dataset=COMPANY, id="c")
    assert found.interface.upstream == "https://company.example/api/company"
    assert found.unplaced == ()
    assert any("DELETE" in note for note in found.notes)


def test_schema_that_leads_in_circles_ends() -> None:
    """Whatever refers to itself is followed only so far."""
    node = {"type": "object", "properties": {"name": {}, "next": {"$ref": "#/components/schemas/Person"}}}
    looping = document({"$ref": "#/components/schemas/Person"})
    looping["components"]["schemas"]["Person"] = node
    found = derive_interface(looping, "/persons/{id}/x", dataset=COMPANY, id="c")
    assert found.interface.places["name"] == "/name"


def test_an_entry_lists_only_fields_that_it_decides_about() -> None:
    """A credential, a field of the gateway's own and one that passes anyway are no such fields."""
    interface = Interface(
        "i", "s", "d", "https://s.example", places={"xm": "/xm"}, request_fields=("X-User", "Sec-Fetch")
    )
    assert [fault for fault in validate_interface(interface) if fault.field == "request_fields"] == []
    for name in (
        "Authorization",
        "Sharing-Department",
        "Remote-User",
        "X-Forwarded-For",
        "Accept",
        "X_User",
        "X-User:",
        "",
        "x" * 99,
    ):
        wrong = msgspec.structs.replace(interface, request_fields=(name,))
        assert [fault["field"] for fault in validate_interface(wrong)] == ["request_fields"], name
