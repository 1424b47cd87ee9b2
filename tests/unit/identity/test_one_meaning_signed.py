"""A signature of an older contract is of one request: no other with another meaning has a signed text in common."""

from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.identity.callers.legacy import _signed_paths, _signed_queries


def meaning(query: str) -> list[tuple[bytes, tuple[bytes, ...]]]:
    """What a form parser reads: each name's values in their order; the order of different names means nothing."""
    values: dict[bytes, list[bytes]] = {}
    for pair in query.split("&"):
        name, _, value = pair.replace("+", " ").partition("=")
        values.setdefault(unquote_to_bytes(name), []).append(unquote_to_bytes(value))
    return sorted((name, tuple(each)) for name, each in values.items())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a=1&b=2", "a=1%26b=2"),
        ("a=1&b=2", "a=1%26b%3D2"),
        ("a=1&a=2", "a=2&a=1"),
        ("a=1%2B2", "a=1+2"),
        ("a=%2526", "a=%26"),
        ("a%3Db=c", "a=b%3Dc"),
        ("a=1%0Akey", "a=1"),
        ("a=b=c", "a%3Db=c"),
    ],
)
def test_other_query_is_not_under_the_signature(one: str, other: str) -> None:
    """Each pair shared a signed text once."""
    assert meaning(one) != meaning(other)
    assert _signed_queries(one.encode()).isdisjoint(_signed_queries(other.encode()))


_character = st.sampled_from(list("ab12&=%+ ;#\n é"))
_pairs = st.lists(st.tuples(st.text(_character, min_size=1, max_size=3), st.text(_character, max_size=3)), max_size=3)


def _sent(pairs: list[tuple[str, str]], safe: str) -> str:
    return "&".join(f"{quote(name, safe=safe)}={quote(value, safe=safe)}" for name, value in pairs)


@settings(max_examples=400, deadline=None)
@given(_pairs, _pairs, st.sampled_from(["", "+", ";", "="]), st.sampled_from(["", "+", ";", "="]))
def test_no_two_queries_of_different_meaning_share_a_signed_text(
    one: list[tuple[str, str]], other: list[tuple[str, str]], safe_one: str, safe_other: str
) -> None:
    """Any two queries, escaped in any way: either they mean the same, or no signature fits both."""
    first, second = _sent(one, safe_one), _sent(other, safe_other)
    if meaning(first) != meaning(second):
        assert _signed_queries(first.encode()).isdisjoint(_signed_queries(second.encode()))


def test_ordinary_requests_keep_every_form() -> None:
    """Clients in use sign decoded, sorted or encoded anew: for queries without hidden structure all are taken."""
    forms = _signed_queries("name=%E5%BC%A0&id=1 2".replace(" ", "%20").encode())
    assert "id=1 2&name=张".encode() in forms
    assert b"id=1%202&name=%E5%BC%A0" in forms
    assert b"name=%E5%BC%A0&id=1%202" in forms
    assert _signed_paths(b"/a/%E5%BC%A0") == {b"/a/%E5%BC%A0", "/a/张".encode()}


@pytest.mark.parametrize("path", [b"/a%2Fb", b"/a%252Fb", b"/a%3Fb", b"/a%0Ab", b"/a%23b"])
def test_path_that_hides_structure_is_signed_as_sent(path: bytes) -> None:
    """`/a%2Fb` is not `/a/b`."""
    assert _signed_paths(path) == {path}
