"""Places: what is read at one is what the libraries of clients read there, or it is refused (ONE-MEANING)."""

import contextlib
import json
from collections.abc import Callable
from typing import Any
from xml.dom import minidom
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.domain.places.documents import read_xml, xml_octets
from gateway.domain.places.language import Kind, PlaceError, Source, parse_place, parse_steps, text_of_steps
from gateway.domain.places.reading import PlaceFault, PlaceReader

BODY = (Source.BODY, "")
_names = st.sampled_from(["id", "ID", "i_d", "x", "身份证", "a.b"])
_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.sampled_from(["1", "110101"])
)
_documents = st.recursive(
    _scalars, lambda below: st.lists(below, max_size=3) | st.dictionaries(_names, below, max_size=3), max_leaves=12
)
_source = st.sampled_from(["query:a", "form:biz~0x", "header:x-a", "segment:r", "body"])
_step = st.sampled_from(
    [
        "~json",
        "~xml",
        "~base64",
        "~condition",
        "~each",
        "/a",
        "/*:a",
        "/Q{urn:a~b/c}b",
        "/@no",
        "/~0~1",
        "/ ",
        "~",
        "~2",
    ]
)


def _parsed(parse: Callable[[], Any]) -> tuple[Any, int]:
    """What is parsed and -1, or None and the position of what is wrong."""
    try:
        return parse(), -1
    except PlaceError as fault:
        return None, fault.position


@given(_source, st.lists(_step, max_size=6))
def test_text_of_a_place_and_the_place_are_one_and_the_same(source: str, steps: list[str]) -> None:
    """Whatever is read as a place is written as that place; whatever is not says where."""
    text = source + "".join(steps)
    place, fault = _parsed(lambda: parse_place(text))
    if place is None:
        assert 0 <= fault <= len(text)
    else:
        assert parse_place(place.text) == place


@given(st.text(max_size=30))
@example("body~json/\ud800")
def test_any_text_is_a_place_or_is_refused_with_a_position(text: str) -> None:
    for kind in Kind:
        steps, fault = _parsed(lambda kind=kind: parse_steps(text, kind))
        if steps is None:
            assert 0 <= fault <= len(text)
        else:
            assert parse_steps(text_of_steps(steps), kind) == steps


def _by_json(document: Any, tokens: tuple[str, ...]) -> Any:
    for token in tokens:
        document = document.get(token) if isinstance(document, dict) else None
    return document


@given(_documents, st.lists(_names, min_size=1, max_size=3))
def test_value_of_a_json_body_is_what_json_says(document: Any, tokens: list[str]) -> None:
    reader = PlaceReader({"x": [parse_place("body~json" + "".join(f"/{token}" for token in tokens))]})
    try:
        values = reader.read({BODY: (json.dumps(document).encode(),)}).get("x")
    except PlaceFault:
        return
    expected = _by_json(document, tuple(tokens))
    assert values == (None if expected in {None, ""} else (str(expected),))


_MARKS = (
    "<a> </a> <b> </b> <b/> <![CDATA[ ]]> <!-- --> 1 2 &lt; &#49; &x; 王 <n:b|xmlns:n='u'> </n:b> <?p|q?> "
    "<!DOCTYPE|a> | <?xml|version='1.0'?> <b|i='1'>"
)
_marks = st.lists(st.sampled_from([mark.replace("|", " ") for mark in _MARKS.split(" ")]), max_size=12).map("".join)


def _first_child(element: Any) -> str:
    return "".join(child.data for child in element.childNodes[:1])


@settings(max_examples=200)
@given(_marks)
def test_value_of_an_xml_body_is_what_each_library_says(middle: str) -> None:
    """ElementTree reads the first text, DOM's `textContent` every one, much code the first child's."""
    body = f"<a>{middle}</a>".encode()
    try:
        values = PlaceReader({"x": [parse_place("body~xml/a/b")]}).read({BODY: (body,)}).get("x", ())
    except PlaceFault:
        return
    tree = ET.fromstring(body)
    assert values == tuple(found.text for found in tree.findall("b"))[: len(values)]
    dom = minidom.parseString(body)
    of_dom = [element for element in dom.documentElement.childNodes if element.nodeName == "b"]
    assert values == tuple(_first_child(element) for element in of_dom)[: len(values)]


@given(st.dictionaries(_names, st.text(max_size=8), max_size=4), st.sampled_from(["utf-8", "gb18030", "utf-16"]))
def test_xml_in_json_in_xml_is_undone_from_every_character_set(values: dict[str, str], codec: str) -> None:
    texts = {name: value for name, value in values.items() if value.isprintable() and value.strip() == value != ""}
    inner = "<r>" + "".join(f"<v>{escape(value)}</v>" for value in texts.values()) + "</r>"
    body = f'<?xml version="1.0" encoding="{codec}"?><o>{escape(json.dumps({"x": inner}))}</o>'.encode(codec)
    reader = PlaceReader({"x": [parse_place("body~xml/o~json/x~xml/r/v")]})
    assert reader.read({BODY: (body,)}).get("x", ()) == tuple(texts.values())


@given(st.binary(max_size=60) | st.text(alphabet="<>a/&;!-[]CDATA? ='\"", max_size=40).map(str.encode))
def test_octets_are_xml_here_only_where_they_are_xml_elsewhere(octets: bytes) -> None:
    with contextlib.suppress(ValueError):
        text, codec = xml_octets(octets)
        root = read_xml(text)
        if codec != "gb18030":
            assert ET.fromstring(octets).tag.rpartition("}")[2] == root.local


@pytest.mark.deep
@settings(max_examples=1_500, deadline=None)
@given(_marks, st.sampled_from(["utf-8", "gbk", ""]))
def test_no_body_makes_a_reader_fail_otherwise_than_by_a_fault(middle: str, charset: str) -> None:
    places = ["body~xml/a/b", "body~xml/a~xml/a/b", "body~xml/a~json/b", "body~xml/a/b~base64~xml/a", "body~xml/a/@i"]
    reader = PlaceReader({place: [parse_place(place)] for place in places})
    with contextlib.suppress(PlaceFault):
        reader.read({BODY: (f"<a>{middle}</a>".encode(),)}, charset)
