"""The conformance table holds, whole and byte by byte, on both event loops."""

import asyncio

import pytest
import uvloop

from tests.conformance.http.table import run


def differing(lines: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    return [line for line in lines if line[1] != line[2]]


def test_every_case_on_uvloop() -> None:
    """ONE-MEANING: each request and answer of the table is treated as the table says."""
    assert differing(uvloop.run(run())) == []


def test_every_request_byte_by_byte() -> None:
    """ONE-MEANING does not depend on how the octets are cut."""
    assert differing(uvloop.run(run(pieces=True))) == []


@pytest.mark.deep
def test_every_case_on_asyncios_own_loop() -> None:
    """Nothing leans on uvloop."""
    assert differing(asyncio.run(run())) == []
