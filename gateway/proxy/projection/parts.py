"""A long JSON array in parts, so that whoever else the loop serves waits for no more than one of them."""

import re
from collections.abc import Iterator

import msgspec

from gateway.domain.errors import GatewayError
from gateway.proxy.projection.envelope import not_filterable
from gateway.proxy.projection.values import SPACE, decode_array

STEP_BYTES = 128 * 1024
"""How much of the rows is worked on in one step; one row that is longer is one step, and must not hold too much."""

MAX_MEMBERS = 1 << 16
"""Most members and elements of a row that is longer than two steps: a photograph is long, and holds one thing."""

_MARKS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


def require_light(rows: bytes) -> None:
    """Raises where what is worked on in one step is long and holds much.

    INVARIANT: BOUNDED: while one answer is worked on, the loop serves nobody else.
    """
    if len(rows) <= 2 * STEP_BYTES or _members(rows) <= MAX_MEMBERS:
        return
    # Texts may hold what looks like members; how many texts there are at most is known.
    if _members(rows) > 16 * MAX_MEMBERS or _members(_STRINGS.sub(b"", rows)) > MAX_MEMBERS:
        raise _too_much()


def _too_much() -> GatewayError:
    return not_filterable(f"a row of the answer holds more than {MAX_MEMBERS} members and elements")


def _members(rows: bytes) -> int:
    return rows.count(b",") + rows.count(b"[") + rows.count(b"{")


def parts_of(rows: bytes) -> Iterator[bytes]:
    """An array as arrays of about `STEP_BYTES` that have the same elements in the same order.

    It is cut behind a brace before a comma, where a decoder says that what stands before is whole elements: one that
    has read them is where the next one begins. Where it says otherwise, the braces are counted.
    """
    rows = rows.strip(SPACE)
    begin = 1
    while guess := rows.find(b"},", begin + STEP_BYTES) + 1:
        end = guess if _is_whole(rows[begin:guess]) else _end_of_element(rows, begin)
        comma = rows.find(b",", end)
        if not end or comma < 0 or rows[end:comma].strip(SPACE):
            break
        yield b"[%b]" % rows[begin:end]
        begin = comma + 1
    # The rest, with the array's own end: also where it is faulty, which whoever decodes it finds.
    if begin > 1 and rows[begin:].strip(SPACE) == b"]":
        raise msgspec.DecodeError("an element is missing behind a comma")
    yield b"[" + rows[begin:]


def _is_whole(elements: bytes) -> bool:
    try:
        decode_array(b"[%b]" % elements)
    except msgspec.DecodeError:
        return False
    return True


def _end_of_element(rows: bytes, begin: int) -> int:
    """Where the first element ends that reaches over a part; 0 where the array ends before."""
    depth = 0
    for count, mark in enumerate(_MARKS.finditer(rows, begin)):
        if count > STEP_BYTES + 4 * MAX_MEMBERS:
            raise _too_much()
        octet = mark[0]
        if octet in {b"{", b"["}:
            depth += 1
        elif octet in {b"}", b"]"}:
            depth -= 1
            if depth == 0 and mark.end() >= begin + STEP_BYTES:
                return mark.end()
    return 0
