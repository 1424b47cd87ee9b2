"""NO-VALUES as a property: marked values go in everywhere, and come out nowhere but in the answer they belong to."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.ledger.log.files import LogFiles
from gateway.ledger.verify.record import verify_log
from tests.support.gateways import RunningGateway, running_gateway, wait_for

KNOWN = {"id_number": "990100195001010001"}
PERSONS = "/public-security/persons"
EXAMPLES = 40
SCENARIO = "ZQ-declared-scenario"
"""A declared scenario is told to whoever may read the record, and stands in no file: the record holds a digest."""

marks = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=10, max_size=24).map(lambda text: f"Zq{text}qZ")

REQUESTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "query": lambda mark: {"params": {"id_number": mark}},
    "query name": lambda mark: {"params": {**KNOWN, mark: "1"}},
    "path": lambda mark: {"url": f"{PERSONS}/{mark}"},
    "body": lambda mark: {"method": "POST", "json": {"id_number": mark, mark: [mark]}},
    "form": lambda mark: {"method": "POST", "data": {"id_number": mark}},
    "upload name": lambda mark: {"method": "POST", "files": {mark: (mark, b"content")}},
    "content type": lambda mark: {"method": "POST", "content": b"{}", "headers": {"Content-Type": f"text/{mark}"}},
    "header": lambda mark: {"params": KNOWN, "headers": {f"X-{mark}": mark}},
    "cookie": lambda mark: {"params": KNOWN, "headers": {"Cookie": f"session={mark}"}},
    "items": lambda mark: {"params": KNOWN, "headers": {"Sharing-Items": mark}},
    "purpose": lambda mark: {"params": KNOWN, "headers": {"Sharing-Purpose": mark}},
    "trace": lambda mark: {"params": KNOWN, "headers": {"traceparent": mark}},
}
"""Where a mark goes into a call that is signed in."""
CREDENTIALS: dict[str, Callable[[str], dict[str, str]]] = {
    "bearer": lambda mark: {"Authorization": f"Bearer {mark}.{mark}.{mark}"},
    "basic": lambda mark: {"Authorization": f"Basic {base64.b64encode(f'{mark}:{mark}'.encode()).decode()}"},
    "legacy key": lambda mark: {f"gjgxjhpt_{name}": mark for name in ("rid", "sid", "rtime", "sign")},
}
ANSWERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "answer": lambda mark: {"name": mark, "phone": mark, "address": {"city": mark, "street": mark}},
    "answer key": lambda mark: {mark: mark},
}
"""What a supplier's row says besides."""
places = st.sampled_from([*REQUESTS, *CREDENTIALS, *ANSWERS])


def call(gateway: RunningGateway, place: str, mark: str) -> httpx.Response:
    """One call with `mark` at `place`."""
    if place in CREDENTIALS:
        headers = {"Sharing-Purpose": "housing-fund-withdrawal", **CREDENTIALS[place](mark)}
        return httpx.get(f"{gateway.data_plane}{PERSONS}", params=KNOWN, headers=headers, trust_env=False)
    with gateway.client() as client:
        if place in REQUESTS:
            return client.request(**{"method": "GET", "url": PERSONS, **REQUESTS[place](mark)})
        person = gateway.population.persons[6]
        kept = dict(person)
        person |= ANSWERS[place](mark)
        try:
            return client.get(PERSONS, params={"id_number": person["id_number"]})
        finally:
            person.clear()
            person.update(kept)


@pytest.mark.timeout(300)
def test_no_values(tmp_path: Path) -> None:
    """INVARIANT: NO-VALUES: whatever went in stands in no problem, entry, index row, file, log line or figure."""
    with running_gateway(tmp_path / "var") as gateway:
        sent = send_marks(gateway)
        with gateway.client() as client:
            declared = {"Sharing-Scenario": SCENARIO}
            assert client.get(PERSONS, params=KNOWN, headers=declared).status_code == 200
        assert wait_for(lambda: any(row.get("scenario") == SCENARIO for row in uses(gateway)))
        figures = gateway.metrics()
        gateway.stop()
        verify_log(gateway.home.ledger, str(gateway.made["verifier_key"]))
        kept = {
            "metrics": figures,
            "entries": "\n".join(entries(gateway.home.ledger)),
            "index": rows(gateway.home.ledger),
        }
        # What is looked through would show a value: names of the registry stand there, digests in place of words.
        for where in ("entries", "index"):
            assert "housing-fund-withdrawal" in kept[where]
            assert "sealed:" in kept[where]
        assert len(kept["entries"].splitlines()) > len(sent)
        for path in gateway.home.root.rglob("*"):
            if path.is_file():
                kept[str(path)] = path.read_bytes().decode("latin-1")
        sent[SCENARIO] = "scenario"
        assert {(sent[mark], where) for where, content in kept.items() for mark in sent if mark in content} == set()


def send_marks(gateway: RunningGateway) -> dict[str, str]:
    """Send marks to every place and look for them in what comes back; which went where."""
    sent: dict[str, str] = {}

    def one(place: str, mark: str) -> None:
        sent[mark] = place
        answer = call(gateway, place, mark)
        assert mark not in str(answer.headers)
        if answer.is_error or place == "answer key":
            assert mark not in answer.text, place

    for place in (*REQUESTS, *CREDENTIALS, *ANSWERS):
        one(place, f"Zq{place.replace(' ', '')}alwaysqZ")
    settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])(given(places, marks)(one))()
    return sent


def uses(gateway: RunningGateway) -> list[dict[str, Any]]:
    with gateway.officer("auditor-he") as api:
        return list(api.get("/v1/records", kind="use", limit=500)["items"])


def entries(ledger: Path) -> Iterator[str]:
    """Every entry of the log, as text."""
    files = LogFiles(ledger / "tree")
    size = int(files.checkpoint().decode().split("\n")[1])
    for n in range((size + 255) // 256):
        for entry in files.bundle(n, min(256, size - 256 * n)):
            json.loads(entry)
            yield entry.decode()


def rows(ledger: Path) -> str:
    """Every row of the index, as text."""
    source = str(ledger / "index" / "date=*" / "*.parquet")
    return str(duckdb.sql(f"SELECT * FROM read_parquet('{source}', hive_partitioning = false)").fetchall())
