"""Behind a proxy each caller is told by its own address, and nobody can name another's."""

import pytest
from fastapi import Request

from gateway.control.act.addresses import address_behind


@pytest.mark.parametrize(
    ("trusted", "fields", "address"),
    [
        (set(), ["203.0.113.9"], "10.0.0.1"),
        ({"10.0.0.2"}, ["203.0.113.9"], "10.0.0.1"),
        ({"10.0.0.1"}, ["203.0.113.9"], "203.0.113.9"),
        ({"10.0.0.1"}, ["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        ({"10.0.0.1"}, ["198.51.100.1", "203.0.113.9"], "203.0.113.9"),
        ({"10.0.0.1"}, ["2001:DB8::1"], "2001:db8::1"),
        ({"10.0.0.1"}, ["203.0.113.9, unknown"], "10.0.0.1"),
        ({"10.0.0.1"}, ["203.0.113.9:4711"], "10.0.0.1"),
        ({"10.0.0.1"}, [""], "10.0.0.1"),
        ({"10.0.0.1"}, [], "10.0.0.1"),
    ],
)
def test_last_word_of_a_trusted_proxy_counts(trusted: set[str], fields: list[str], address: str) -> None:
    """What the caller itself wrote before it does not; nor does anything an untrusted sender says."""
    headers = [(b"x-forwarded-for", field.encode()) for field in fields]
    request = Request({"type": "http", "client": ("10.0.0.1", 4711), "headers": headers})
    assert address_behind(frozenset(trusted))(request) == address


def test_connection_without_an_address_has_none() -> None:
    """A request by a Unix socket, or in this process."""
    assert address_behind(frozenset())(Request({"type": "http", "client": None, "headers": []})) == ""
