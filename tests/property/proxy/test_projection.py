"""GRANTED-ITEMS-ONLY: whatever a supplier answers, nothing outside the granted items leaves, and nothing crashes."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import GatewayError
from gateway.proxy.projection import parts
from gateway.proxy.projection.document import DocumentProjector
from gateway.proxy.projection.envelope import Answered
from gateway.proxy.projection.masks import parse_mask
from gateway.proxy.projection.projected import Projected, at_once
from gateway.proxy.projection.streams import NdjsonReducer

SECRET = "SECRET"
PLACES = {"a": "/a", "b": "/b", "c": "/n/c", "s": "/s", "t": "/n/t", "deep": "/n/m/deep", "address": "/address"}
GRANTED = ("a", "b", "c", "deep")

keys = st.sampled_from(["a", "b", "s", "n", "c", "t", "m", "deep", "data", "code", "message", "x", "address", "street"])
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=8,
)
rows = st.dictionaries(keys, values, max_size=6)


def projector(granted: tuple[str, ...] = GRANTED, places: dict[str, str] = PLACES, **masks: str) -> DocumentProjector:
    kinds = {item: parse_mask(mask, lambda value: f"p{len(value)}") for item, mask in masks.items()}
    return DocumentProjector("/data", places, ("code", "message"), granted, kinds)


def plant(value: Any, path: tuple[str, ...]) -> Any:
    """The same value with a mark in every text that does not stand at a granted place."""
    granted = {("a",), ("b",), ("n", "c"), ("n", "m", "deep")}
    if path in granted:
        return value
    if isinstance(value, dict):
        return {key: plant(inner, (*path, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [plant(inner, path) for inner in value]
    return SECRET


def is_known(row: Any, places: dict[str, str] = PLACES) -> bool:
    """Whether a row is empty or holds something at a place of some item: KNOWN-SHAPE, told anew."""

    def holds(value: Any, tokens: list[str], arrays: int = 0) -> bool:
        if not tokens:
            return True
        if isinstance(value, list) and arrays < 4:
            return any(holds(each, tokens, arrays + 1) for each in value)
        return isinstance(value, dict) and tokens[0] in value and holds(value[tokens[0]], tokens[1:], arrays)

    return not row or any(holds(row, place[1:].split("/")) for place in places.values())


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.lists(rows, max_size=3), rows), st.dictionaries(keys, values, max_size=3))
def test_granted_items_only(data: Any, beside: dict[str, Any]) -> None:
    """A mark planted everywhere outside the granted places is nowhere in what leaves."""
    marked = [plant(row, ()) for row in data] if isinstance(data, list) else plant(data, ())
    document = {**{key: [SECRET] for key in beside}, "data": marked}
    if not all(is_known(row) for row in (data if isinstance(data, list) else [data])):
        with pytest.raises(GatewayError, match="nothing in them"):
            projector().project(json.dumps(document).encode())
        return
    projected = projector().project(json.dumps(document).encode())
    assert SECRET.encode() not in projected.content
    assert projected.rows == (len(data) if isinstance(data, list) else 1)
    assert set(projected.items) <= set(GRANTED)


def come_to(work: Callable[[], Projected]) -> Any:
    """What a projection leaves, or why it leaves nothing."""
    try:
        done = work()
    except GatewayError as error:
        return error.detail
    return json.loads(done.content), done.rows, done.items


@settings(max_examples=120, deadline=None)
@given(
    st.one_of(st.lists(rows, max_size=9), rows, st.lists(values, max_size=4)),
    st.integers(1, 60),
    st.integers(0, 2),
    st.sampled_from(["", "last-4"]),
    st.sampled_from(["", ",", "]", "},", "\u00e9", "}, {"]),
)
def test_in_steps_the_same_leaves_as_at_once(data: Any, step: int, indent: int, mask: str, broken: str) -> None:
    """Whatever the length of a part and wherever it is cut, of sound answers and of broken ones; and so for values."""
    text = json.dumps({"code": 1, "data": data, "message": "}, {"}, indent=indent or None)
    if broken:
        text = text.replace("]", f"{broken}]", 1)
    one = projector(**({"a": mask} if mask else {}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "STEP_BYTES", 1 << 30)
        whole = come_to(lambda: one.project(text.encode()))
        values = come_to(lambda: Projected(_values(one, text), 0, ()))
        patch.setattr(parts, "STEP_BYTES", step)
        assert come_to(lambda: at_once(one.steps(text.encode()))) == whole
        assert come_to(lambda: Projected(_values(one, text), 0, ())) == values


def values_of(one: DocumentProjector, content: bytes) -> list[Any]:
    return [row for rows in one.values(content) for row in rows]


def _values(one: DocumentProjector, text: str) -> bytes:
    rows = values_of(one, text.encode())
    return json.dumps([{item: bytes(raw).decode() for item, raw in row.items()} for row in rows]).encode()


def test_a_long_answer_takes_a_step_for_each_part_of_its_rows() -> None:
    """No step works on more than a part, masked or not; and the parts are cut behind rows, wherever braces stand."""
    row = {"a": "}, {", "n": {"c": [{"x": 1}, {"y": 2}]}, "s": SECRET}
    text = json.dumps({"data": [row] * 20_000}).encode()
    for masks in ({}, {"a": "last-4"}):
        steps = sum(1 for _ in projector(**masks).steps(text))
        assert steps >= len(text) // (2 * parts.STEP_BYTES)


HEAVY = {
    # One row, or one object, that is long and holds much: all of it would be one step.
    "elements of a row": (b'{"data":[{"n":{"c":[', b'{"x":1}', b"]}}]}"),
    "elements within elements": (b'{"data":[{"n":{"c":[', b'[[{"x":1}]]', b"]}}]}"),
    "empty elements": (b'{"data":[{"a":1,"s":[', b"{}", b"]}]}"),
    "scalars": (b'{"data":[{"a":1,"s":[', b"1", b"]}]}"),
    "texts": (b'{"data":[{"a":1,"s":[', b'""', b"]}]}"),
    "members of a row": (b'{"data":[{"a":1,', b'"k":1', b"}]}"),
    "members of a single row": (b'{"data":{"a":1,', b'"k":1', b"}}"),
    "members of no item": (b'{"data":{"n":{"c":[', b'{"q":1}', b"]}}}"),
}


@pytest.mark.parametrize("heavy", HEAVY)
def test_a_row_that_is_long_and_holds_much_is_refused(heavy: str) -> None:
    """No step takes longer than a row may hold: an answer of one row is not worked on while nobody else is served."""
    begin, unit, end = HEAVY[heavy]
    content = begin + b",".join([unit] * (parts.MAX_MEMBERS + 400_000 // len(unit))) + end
    for work in (lambda: at_once(projector().steps(content)), lambda: values_of(projector(), content)):
        with pytest.raises(GatewayError, match="holds more than"):
            work()


def test_a_row_of_a_stream_is_no_heavier() -> None:
    """NDJSON's rows are shorter, and held to the same."""
    row = b'{"a":1,"s":[' + b",".join([b"{}"] * 150_000) + b"]}\n"
    with pytest.raises(GatewayError, match="holds more than"):
        NdjsonReducer(PLACES, GRANTED, {}, 1 << 20).feed(row)


def test_a_long_row_that_holds_little_leaves() -> None:
    """A photograph, a text of many commas, and as many members as a row may have, wherever they stand."""
    photograph = "x" * (4 << 20)
    row = {"a": photograph, "n": {"c": "1,2,[{" * 100_000}, "s": list(range(10_000))}
    for data in ([row], row, [row, {"a": "b"}]):
        content = json.dumps({"code": 0, "data": data, **{f"k{number}": 1 for number in range(200_000)}}).encode()
        left = json.loads(at_once(projector().steps(content)).content)
        first = left["data"][0] if isinstance(data, list) else left["data"]
        assert first["a"] == photograph
        assert first["n"]["c"] == row["n"]["c"]  # type: ignore[index]


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.lists(rows, max_size=3), rows), st.integers(0, 2))
def test_the_fast_way_and_the_walk_give_the_same(data: Any, indent: int) -> None:
    """Two ways, one result."""
    content = json.dumps({"code": 1, "data": data}, indent=indent or None).encode()
    one = projector()
    assert one._fast is not None
    if not all(is_known(row) for row in (data if isinstance(data, list) else [data])):
        with pytest.raises(GatewayError):
            one.project(content)
        return
    walked = at_once(one.reduce(content, Answered(), is_failure=False))
    projected = one.project(content)
    assert json.loads(projected.content) == json.loads(walked.content)
    assert (projected.rows, projected.items) == (walked.rows, walked.items)


@settings(max_examples=75, deadline=None)
@given(st.binary(max_size=60))
def test_no_octets_crash_it(octets: bytes) -> None:
    """Anything is filtered or not filterable."""
    for content in (octets, b'{"data":' + octets + b"}", b'{"data":[{"a":' + octets + b',"s":"SECRET"}]}'):
        with contextlib.suppress(GatewayError):
            projected = projector().project(content)
            json.loads(projected.content)
            assert b"SECRET" not in projected.content


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ('{"data":[{"a":1,"a":2}]}', '{"data":[{"a":2}]}'),
        ('{"data":{"s":1},"data":[{"a":1}]}', '{"data":[{"a":1}]}'),
        ('{"data":[{"\\u0061":1,"\\u0073":"SECRET"}]}', '{"data":[{"a":1}]}'),
        ('{"data":[{"a":12345678901234567890.123456789012345678901}]}', None),
        ('{"data":[{"a":1e999}]}', None),
        ('{"data":[{"a":-0.0}]}', None),
        ('{"data":[{"a":' + "9" * 5000 + "}]}", None),
        ('\ufeff{"data":[{"a":1}]}', '{"data":[{"a":1}]}'),
        ('{"data":null}', None),
        ('{"data":""}', None),
        ('{"code":{"x":"SECRET"},"message":["SECRET"],"data":[]}', '{"data":[]}'),
        ('{"message":"' + "m" * 600 + '","data":[]}', '{"data":[]}'),
        ('{"data":[{"n":[{"c":1,"t":"SECRET"},{"c":2}]}]}', '{"data":[{"n":[{"c":1},{"c":2}]}]}'),
        ('{"data":[{"s":"SECRET"}]}', '{"data":[{}]}'),
        ('{"data":[{}]}', None),
        ('{"data":{}}', None),
        ('{"data":[{"n":null,"a":null}]}', '{"data":[{"a":null}]}'),
    ],
)
def test_hostile_json_keeps_what_is_granted_in_the_suppliers_text(answer: str, kept: str | None) -> None:
    """Repeated and escaped keys, huge numbers, a byte order mark: the granted text as it was, and nothing else."""
    content = projector().project(answer.encode()).content.decode()
    assert content == (answer if kept is None else kept)


@pytest.mark.parametrize(
    "answer",
    [
        '{"data":[{"a":NaN}]}',
        '{"data":[{"a":Infinity}]}',
        '{"data":[{"a":01}]}',
        '{"data":[{"a":"\\ud800"}]}',
        '{"data":[{"a":1}]} trailing',
        '{"data":[{"a":1},]}',
        '{"data":"SECRET"}',
        '{"data":true}',
        '{"data":[1]}',
        '{"data":[["SECRET"]]}',
        '{"data":[{"n":"SECRET"}]}',
        '["SECRET"]',
        '"SECRET"',
        "",
        '{"data":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"data":[{"s":' + '{"x":' * 50_000 + "1" + "}" * 50_000 + "}]}",
    ],
)
def test_what_is_not_strict_json_with_rows_is_not_filterable(answer: str) -> None:
    """Never a leak, never a crash."""
    with pytest.raises(GatewayError, match="answer-not-filterable"):
        projector().project(answer.encode())


@pytest.mark.parametrize(
    "octets", [b'{"data":[{"a":"\xff"}]}', b'{"data":[{"a":"\xed\xa0\x80"}]}', "é".encode("utf-16")]
)
def test_octets_that_are_not_utf8_are_not_filterable(octets: bytes) -> None:
    """What one reader takes for a quote another may not."""
    with pytest.raises(GatewayError, match="answer-not-filterable"):
        projector().project(octets)


def test_an_item_below_another_is_taken_out_of_it() -> None:
    """Granting `address` does not grant `street`, which stands in it; nor the other way round."""
    places = {"address": "/address", "street": "/address/street"}
    row = b'{"data":[{"address":{"street":"SECRET","city":"Z"}}]}'
    assert projector(("address",), places).project(row).content == b'{"data":[{"address":{"city":"Z"}}]}'
    assert projector(("street",), places).project(row).content == b'{"data":[{"address":{"street":"SECRET"}}]}'
    assert projector(("address", "street"), places).project(row).items == ("address", "street")


def test_two_items_at_one_place_leave_only_if_both_are_granted() -> None:
    """A place that an item outside the grant also names does not leave."""
    places = {"a": "/a", "alias": "/a"}
    assert projector(("a",), places).project(b'{"data":[{"a":"SECRET"}]}').content == b'{"data":[{}]}'


def test_an_index_picks_one_element() -> None:
    """A pointer with an index grants that element alone."""
    answer = b'{"data":[{"phones":["SECRET","1","SECRET"]}]}'
    assert projector(("p",), {"p": "/phones/1"}).project(answer).content == b'{"data":[{"phones":[null,"1"]}]}'


@pytest.mark.parametrize(
    ("mask", "value", "left"),
    [
        ("keep-last-4", '"442000199001011234"', '"**************1234"'),
        ("keep-last-4", '"123"', '"***"'),
        ("keep-last-4", '"1234"', '"****"'),
        ("keep-last-4", "13800001234", '"*******1234"'),
        ("year-only", '"1990-01-02"', '"1990"'),
        ("year-only", '"19900102"', '"1990"'),
        ("year-only", '"02/01/1990"', None),
        ("hash", '"abc"', '"p3"'),
        ("unheard-of", '"SECRET"', None),
        ("keep-last-4", '{"x":"SECRET"}', None),
        ("keep-last-4", "null", "null"),
    ],
)
def test_masks(mask: str, value: str, left: str | None) -> None:
    """What a mask leaves; what it cannot work on does not leave."""
    projected: Projected = projector(("a",), PLACES, a=mask).project(f'{{"data":[{{"a":{value}}}]}}'.encode())
    assert projected.content.decode() == ('{"data":[{}]}' if left is None else f'{{"data":[{{"a":{left}}}]}}')
    assert projected.items == (() if left is None else ("a",))


ONE_LEVEL_DEEPER = '{"code":0,"message":"ok","data":{"total":1,"pages":1,"records":[{"a":"1","b":"2"}]}}'
UNKNOWN = [
    ONE_LEVEL_DEEPER,
    '{"code":0,"message":"ok"}',
    '{"code":0,"Data":[{"a":1}]}',
    '{"code":0,"data":[{"total":1}]}',
    '{"code":0,"data":[{"a":1},{"total":1}]}',
    '{"code":0,"data":{"n":{"x":1}}}',
    '{"code":0,"data":[{"n":{"m":{"x":1}}}]}',
    '{"code":"1","message":"parameter missing"}',
    "{}",
]


@pytest.mark.parametrize("answer", UNKNOWN)
@pytest.mark.parametrize("granted", [GRANTED, ("a",), ("s",), ()])
def test_answer_of_a_shape_the_entry_does_not_know_is_refused(answer: str, granted: tuple[str, ...]) -> None:
    """KNOWN-SHAPE: never "nothing found" where nobody said so, neither as an answer nor as a comparison."""
    one = projector(granted)
    with pytest.raises(GatewayError, match="answer-not-filterable"):
        one.project(answer.encode())
    with pytest.raises(GatewayError, match="answer-not-filterable"):
        values_of(one, answer.encode())


@pytest.mark.parametrize("granted", [GRANTED, ("a",), ("s",), ()])
@pytest.mark.parametrize("rows", ["[]", "null", '""', "{}", "[{}]"])
def test_answer_that_says_nothing_was_found_is_let_out(rows: str, granted: tuple[str, ...]) -> None:
    """No rows, null, an empty text or an empty row where rows stand."""
    answer = b'{"data":%b}' % rows.encode()
    assert projector(granted).project(answer).content == answer
    assert values_of(projector(granted), answer) in ([], [{}])


def test_row_of_known_items_of_which_none_is_granted_is_known() -> None:
    """The entry knows such a row: nothing of it leaves, and that is what was granted."""
    for answer in (b'{"data":[{"t":1,"s":1}]}', b'{"data":[{"n":{"t":1}}]}'):
        projected = projector(("a",)).project(answer)
        assert (projected.content, projected.rows, projected.items) == (b'{"data":[{}]}', 1, ()) or b'"n"' in answer


def test_declared_words_for_nothing_found_are_known() -> None:
    """`empty_when`: by the answer's own code, as text or number; other codes stay unknown."""
    words = {"/code": ("404", "1"), "/head/state": ("none",)}
    one = DocumentProjector("/data/rows", {"a": "/a"}, ("code", "message"), ("a",), {}, words)
    for answer in ('{"code":404}', '{"code":"1","message":"none"}', '{"head":{"state":"none"},"code":0}'):
        assert one.project(answer.encode()).rows == 0
        assert values_of(one, answer.encode()) == []
    for answer in ('{"code":500}', '{"head":{"state":"some"}}', '{"head":"none"}', '{"code":{"404":1}}'):
        with pytest.raises(GatewayError, match="does not say why"):
            one.project(answer.encode())
        # A status that is a failure said so already.
        assert one.project(answer.encode(), is_failure=True).rows == 0
