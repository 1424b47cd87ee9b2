"""Declared values in any script, from clients that send ASCII alone: decoded once, with one meaning."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client.core import _field
from gateway.domain.errors import GatewayError
from gateway.proxy.http.heads import Block, parse_block
from gateway.proxy.limits import Limits

TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=40).map(str.strip)


def block(**fields: str | bytes) -> Block:
    lines = [
        b"Sharing-%b: %b\r\n" % (name.encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in fields.items()
    ]
    return parse_block(b"Host: g\r\n" + b"".join(lines) + b"\r\n", Limits())


@given(TEXT)
def test_encoded_text_is_what_was_meant(text: str) -> None:
    """By urllib's rule, by our client's, and raw UTF-8 where no `%` stands in it."""
    assert block(Scenario=quote(text)).scenario == text
    if text.isprintable():
        assert block(Scenario=_field(text)).scenario == text
    if "%" not in text:
        assert block(Scenario=text).scenario == text


def test_items_are_divided_before_they_are_decoded() -> None:
    """An encoded comma is no divider, and an encoded per cent sign is not decoded again."""
    assert block(Items="%E5%A7%93%E5%90%8D, 性别").items == ("姓名", "性别")
    assert block(Items="a%2Cb,c").items == ("a,b", "c")
    assert block(Items="a%2525").items == ("a%25",)


@pytest.mark.parametrize("value", ["100%", "%zz", "%E5", "%0d%0aX: y", "%00", "%c2%85", "%ff", "%ed%a0%80"])
def test_what_is_no_text_is_malformed(value: str) -> None:
    """Broken encodings, octets that are no UTF-8, line ends and controls."""
    for name in ("Scenario", "Operator", "Purpose", "Items"):
        with pytest.raises(GatewayError, match="malformed-request"):
            block(**{name: value})
