"""GRANTED-ITEMS-ONLY for XML: whatever is written and wherever it is cut, what leaves is what a tree walk keeps."""

import base64
import contextlib
import json
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.directory import AnswerFormat, Interface
from gateway.domain.errors import GatewayError
from gateway.proxy.projection.answers import XmlProjector, make_projector
from gateway.proxy.projection.xml import reducer

SECRET = "SECRET"
PLACES = {"a": "/a", "b": "/b", "c": "/n/c", "s": "/s", "t": "/n/t", "k": "/@k", "j": "/n/@j", "in": "/b/in"}
GRANTED = ("a", "b", "c", "k", "j")
GRANTED_PLACES = ("a", "b", "n/c")


def projector() -> XmlProjector:
    entry = Interface(
        "x", "y", "z", "https://x.example", format=AnswerFormat.XML, rows="/P/D/R", places=PLACES, envelope=()
    )
    made = make_projector(entry, GRANTED, {}, row_bytes=1 << 16)
    assert isinstance(made, XmlProjector)
    return made


texts = st.sampled_from(["", "x", "王小明", "a&b", "<a>", "]]", "]]>", "  ", "\n", '"', "'", "</R>", "&amp;", "\r"])
names = st.sampled_from(["a", "b", "s", "n", "c", "t", "in", "R", "D", "x"])
attributes = st.dictionaries(st.sampled_from(["k", "j", "y"]), texts, max_size=2)


@st.composite
def elements(draw: Any, depth: int = 0, name: str = "") -> str:
    """An element as some supplier may write it."""
    tag = name or draw(names)
    inner = ""
    for _ in range(draw(st.integers(0, 3 - min(depth, 3)))):
        kind = draw(st.integers(0, 9))
        text = draw(texts)
        if kind < 5:
            inner += draw(elements(depth + 1))
        elif kind == 5 and "]]>" not in text:
            inner += f"<![CDATA[{text}]]>"
        elif kind == 6:
            inner += f"<!--{SECRET}-->"
        else:
            inner += escape(text)
    told = "".join(f" {key}={quoteattr(value)}" for key, value in draw(attributes).items())
    if not inner and draw(st.booleans()):
        return f"<{tag}{told}/>"
    return f"<{tag}{told}>{inner}</{tag}>"


documents = st.lists(st.one_of(elements(name="R"), elements(name="R"), elements()), max_size=6).map(
    lambda rows: "<?xml version='1.0'?><P><D>" + "\n".join(rows) + "</D></P>"
)


def come_to(content: bytes, size: int, *, learns: int = 1) -> Any:
    """What leaves of an answer that comes in pieces, or that it is refused."""
    one = projector()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reducer, "LEARNS_FROM", learns)
        running = one.reducer()
        try:
            out = [running.feed(content[start : start + size]) for start in range(0, len(content), size)]
            out.append(running.finish())
        except GatewayError:
            return None
    return b"".join(out), running.rows, running.items


def kept(row: ET.Element) -> list[tuple[str, str, dict[str, str]]]:
    """What of a row a tree walk keeps: granted elements with their text, without what is in them and is not granted."""
    found = []
    for place in GRANTED_PLACES:
        for each in row.findall(place):
            text = (each.text or "") + "".join(
                ("" if child.tag == "in" and place == "b" else "".join(child.itertext())) + (child.tail or "")
                for child in each
            )
            found.append((place, text, {}))
    found += [("n", "", {"j": each.get("j")}) for each in row.findall("n") if each.get("j") is not None]
    return [*found, ("", "", {"k": row.get("k")})]


@settings(max_examples=80, deadline=None)
@given(documents)
def test_what_leaves_is_what_a_tree_walk_keeps(text: str) -> None:
    """Element by element, by another reader of both documents."""
    content = text.encode()
    done = come_to(content, 1 << 20)
    if done is None:
        return
    left, rows, _ = done
    before, after = ET.fromstring(content).find("D"), ET.fromstring(left).find("D")
    assert before is not None
    assert after is not None
    assert SECRET.encode() not in left
    assert [each.tag for each in after] == ["R"] * rows
    assert [kept(row) for row in after] == [kept(row) for row in before.findall("R")]
    allowed = {"a", "b", "n"}
    assert all({child.tag for child in row} <= allowed and set(row.keys()) <= {"k"} for row in after)
    for row in after:
        assert all({child.tag for child in n} <= {"c"} and set(n.keys()) <= {"j"} for n in row.findall("n"))
        assert all(not each.keys() for place in GRANTED_PLACES for each in row.findall(place))
        assert all(child.tag != "in" for each in row.findall("b") for child in each)


@settings(max_examples=50, deadline=None)
@given(documents, st.integers(1, 40))
def test_wherever_it_is_cut_and_whether_or_not_rows_are_alike_the_same_leaves(text: str, size: int) -> None:
    """In pieces and at once, by the parser alone and by templates, which are learned from the first row on."""
    content = text.replace("</D>", text.partition("<D>")[2].partition("</D>")[0] + "</D>").encode()
    whole = come_to(content, 1 << 20, learns=1 << 30)
    assert come_to(content, size, learns=1 << 30) == whole
    assert come_to(content, size) == whole
    assert come_to(content, 1 << 20) == whole


def test_at_every_cut_the_same_leaves() -> None:
    """Two pieces, cut at every octet, also within characters."""
    row = '<R k="1"><a y="é">王&amp;<![CDATA[]]]></a ><s>SECRET</s><n><c/><t>x</t></n></R >\n'
    content = f"<P><D>{row * 4}<R><!--x--><a>b</a></R></D></P>".encode()
    whole = come_to(content, 1 << 20, learns=1 << 30)
    assert whole is not None
    assert whole[1] == 5
    for cut in range(len(content)):
        running = projector().reducer()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reducer, "LEARNS_FROM", 1)
            out = running.feed(content[:cut]) + running.feed(content[cut:]) + running.finish()
        assert out == whole[0]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.integers(1, 8))
def test_no_octets_crash_it(octets: bytes, size: int) -> None:
    """Anything is filtered or not filterable, behind rows that are alike, too."""
    row = b"<R><a>b</a></R>"
    for content in (octets, b"<P><D>" + row * 3 + octets + row + b"</D></P>", b"<P><D><R><a>" + octets + b"</a></R>"):
        done = come_to(content, size)
        if done is not None:
            ET.fromstring(done[0])


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                b"<",
                b">",
                b"/",
                b"R",
                b"a",
                b"<R>",
                b"</R>",
                b"<a>",
                b"</a>",
                b"<s>",
                b"</s>",
                b"<!--",
                b"-->",
                b"<![CDATA[",
                b"]]>",
                b"]",
                b'"',
                b"'",
                b" k=",
                b"&lt;",
                b"&#0;",
                b"<?x ",
                b"?>",
                b"SECRET",
            ]
        ),
        max_size=14,
    ),
    st.integers(1, 9),
)
def test_pieces_of_markup_in_any_order_are_read_as_another_parser_reads_them(pieces: list[bytes], size: int) -> None:
    """What is no XML to ElementTree does not leave either; and what leaves has as many rows as it counts."""
    row = b"<R><a>b</a></R>"
    content = b"<P><D>" + row * 2 + b"".join(pieces) + row + b"</D></P>"
    done = come_to(content, size)
    tree = None
    with contextlib.suppress(ET.ParseError):
        tree = ET.fromstring(content)
    if done is not None:
        assert tree is not None
        assert done[1] == len(tree.findall("D/R"))
        assert len(ET.fromstring(done[0]).findall("D/R")) == done[1]
        assert b"<s>" not in done[0].replace(b"<![CDATA[", b"").split(b"<a>")[0]


WAYS = ("/o~json/data", "/o~xml/P/D/R", "/o~base64~json/data", "/o~base64~xml/P/D/R")
seeds = st.sampled_from([b'{"data":[{"a":1,"s":"SECRET"}]}', b"<P><D><R><a>1</a><s>SECRET</s></R></D></P>"])


def names_in_rows(text: str) -> set[str]:
    """What stands in the rows of a reduced document."""
    if not text:
        return set()
    if text[:1] == "{":
        rows = json.loads(text).get("data") or []
        return {name for row in (rows if isinstance(rows, list) else [rows]) for name in row}
    return {child.tag for row in ET.fromstring(text).findall("D/R") for child in row}


@pytest.mark.deep
@settings(max_examples=500, deadline=None)
@given(seeds, st.integers(0, 60), st.binary(max_size=4), st.integers(0, 3), st.sampled_from(WAYS))
def test_fuzzed_documents_in_documents_keep_granted_names_alone(
    seed: bytes, at: int, octets: bytes, cut: int, way: str
) -> None:
    """Octets are put in and taken out anywhere: filtered or not filterable, and valid where it leaves."""
    fuzzed = seed[:at] + octets + seed[at + cut :]
    packs = "base64" in way
    text = base64.b64encode(fuzzed).decode() if packs else fuzzed.decode("utf-8", "replace")
    entry = Interface("x", "y", "z", "https://x.example", rows=way, places={"a": "/a", "s": "/s"}, envelope=())
    one = make_projector(entry, ("a",), {}, row_bytes=1 << 16)
    assert one is not None
    with contextlib.suppress(GatewayError):
        left = json.loads(one.project(json.dumps({"o": text}).encode()).content)["o"] or ""
        assert names_in_rows(base64.b64decode(left).decode() if packs else left) <= {"a"}


@pytest.mark.deep
@settings(max_examples=400, deadline=None)
@given(
    documents, st.integers(1, 40), st.integers(0, 400), st.sampled_from([b"<", b">", b"&", b'"', b"]", b"\xff", b"/"])
)
def test_fuzzed_xml_leaves_alike_by_templates_and_by_the_parser(text: str, size: int, at: int, octet: bytes) -> None:
    """One octet too many, anywhere: two ways, one result."""
    content = text.replace("</D>", text.partition("<D>")[2].partition("</D>")[0] + "</D>").encode()
    content = content[:at] + octet + content[at:]
    assert come_to(content, size) == come_to(content, 1 << 20, learns=1 << 30)
