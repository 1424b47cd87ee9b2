"""JSON values as a supplier wrote them: what kind they are, and what stands in them."""

from collections.abc import Callable, Iterator
from functools import lru_cache

import msgspec
from msgspec import UNSET, Raw, UnsetType

from gateway.proxy.projection.envelope import not_filterable
from gateway.proxy.projection.masks import Mask
from gateway.proxy.projection.places import Place

MAX_ARRAYS = 4
"""How many arrays within arrays a place may pass through."""

SPACE = b" \t\r\n"
NESTED = (b"{", b"[")

decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
decode_array = msgspec.json.Decoder(list[Raw]).decode
decode_any = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode
_astuple = msgspec.structs.astuple


@lru_cache(maxsize=4096)
def picker(names: tuple[str, ...]) -> Callable[[bytes | Raw], dict[str, Raw]]:
    """What takes these members out of an object and skips all others, however many there are."""
    fields = [(f"f{at}", Raw | UnsetType, msgspec.field(default=UNSET, name=name)) for at, name in enumerate(names)]
    decode = msgspec.json.Decoder(msgspec.defstruct("Members", fields)).decode

    def pick(raw: bytes | Raw) -> dict[str, Raw]:
        return {name: found for name, found in zip(names, _astuple(decode(raw)), strict=True) if found is not UNSET}

    return pick


def octets_of(content: bytes) -> bytes:
    """A document without its mark; raises unless it is UTF-8: the decoder looks into no string it skips or keeps."""
    if content[:3] == b"\xef\xbb\xbf":
        content = content[3:]
    if not content.isascii():
        try:
            content.decode("utf-8")
        except UnicodeDecodeError:
            raise not_filterable("the answer is not UTF-8") from None
    return content


def kind_of(raw: Raw) -> bytes:
    """The first byte of a value's text."""
    return bytes(memoryview(raw)[:64]).lstrip(SPACE)[:1] or bytes(raw).lstrip(SPACE)[:1]


def text_of(raw: Raw) -> str:
    """A scalar as a text: a string's own, anything else as it is written."""
    return str(decode_any(raw)) if kind_of(raw) == b'"' else bytes(raw).strip(SPACE).decode()


def values_at(raw: Raw, tokens: tuple[str, ...]) -> Iterator[Raw]:
    """What stands at a place, in every element of an array on the way; null stands for nothing."""
    kind = kind_of(raw)
    if not tokens:
        if kind == b"[":
            for element in decode_array(raw):
                yield from values_at(element, tokens)
        elif kind != b"n":
            yield raw
    elif kind == b"{":
        inner = decode_object(raw).get(tokens[0])
        if inner is not None:
            yield from values_at(inner, tokens[1:])
    elif kind == b"[":
        elements = decode_array(raw)
        if tokens[0].isdigit():
            for element in elements[int(tokens[0]) : int(tokens[0]) + 1]:
                yield from values_at(element, tokens[1:])
        else:
            for element in elements:
                yield from values_at(element, tokens)


def leads_to_an_item(raw: Raw, node: Place, arrays: int) -> bool:
    """Whether some place below `node` is there."""
    if node.item is not None:
        return True
    kind = kind_of(raw)
    if kind == b"{":
        return any(
            name in node.children and leads_to_an_item(value, node.children[name], arrays)
            for name, value in decode_object(raw).items()
        )
    if kind == b"[" and arrays < MAX_ARRAYS:
        return any(
            leads_to_an_item(element, node.children.get(str(index), node), arrays + 1)
            for index, element in enumerate(decode_array(raw))
        )
    return False


def masked_value(raw: Raw, mask: Mask) -> Raw | None:
    """What a mask leaves of a JSON value: strings and numbers by their text, null as it is, all else nothing."""
    kind = kind_of(raw)
    if kind == b"n":
        return raw
    if kind in {b"{", b"[", b"t", b"f"}:
        return None
    text = decode_any(raw) if kind == b'"' else bytes(raw).decode()
    left = mask(text)
    return None if left is None else Raw(encode(left))
