"""What callers and officers say, on a running gateway: kept beside the log, told to readers, erased for good."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from gateway.runtime.operation.session.api import REGISTRAR
from tests.end_to_end.test_no_values import KNOWN, PERSONS
from tests.support.gateways import RunningGateway, running_gateway, wait_for

CLERK, COUNTER = "ZQ-clerk-Li-Wei", "ZQ-counter-seven"


def say(gateway: RunningGateway, **said: str) -> None:
    with gateway.client() as client:
        headers = {f"Sharing-{name.title()}": text for name, text in said.items()}
        assert client.get(PERSONS, params=KNOWN, headers=headers).status_code == 200


def said_in(gateway: RunningGateway) -> list[dict[str, Any]]:
    with gateway.officer("auditor-he") as api:
        return [row for row in api.get("/v1/records", kind="use", limit=500)["items"] if row.get("operator")]


def digests(gateway: RunningGateway, record: str) -> tuple[str, str]:
    with gateway.officer("auditor-he") as api:
        use = api.get(f"/v1/records/{record}")["entries"][0]["use"]
    return use["scenario"], use["operator"]


def octets(root: Path) -> bytes:
    return b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())


def command(gateway: RunningGateway, *said: str) -> str:
    """What a command says on the gateway's own machine."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *said],
        env={**os.environ, "GATEWAY_HOME": str(gateway.home.root), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_callers_words_live_beside_the_log_and_go_for_good(tmp_path: Path) -> None:
    """Said by two workers and after a kill it is one text; erased it is nowhere, and said again it is another."""
    with running_gateway(tmp_path / "var", GATEWAY_DATA_PLANE__WORKERS="2") as gateway:
        for _ in range(8):
            say(gateway, scenario=COUNTER, operator=CLERK)
        rows = wait_for(lambda: len(found := said_in(gateway)) == 8 and found)
        assert {(row["scenario"], row["operator"]) for row in rows} == {(COUNTER, CLERK)}
        named = {digests(gateway, row["record"]) for row in rows}
        assert len(named) == 1
        assert CLERK.encode() not in octets(gateway.home.root)
        # Killed between any two steps, what is on record reads as before, and the same words are the same text.
        gateway.stop(signal.SIGKILL)
        gateway.home.addresses_file.unlink()  # of the one that was killed: it could not take them back
        gateway.start()
        say(gateway, scenario=COUNTER, operator=CLERK)
        rows = wait_for(lambda: len(found := said_in(gateway)) == 9 and found)
        assert {digests(gateway, row["record"]) for row in rows} == named
        assert CLERK in command(gateway, "records", "show", rows[0]["record"], "--as", "auditor-he")
        with gateway.officer() as api:
            done, _ = api.post_once(
                f"/v1/records/{rows[0]['record']}/erasure",
                {"fields": ["operator"], "reason": "asked for by the person"},
            )
        assert done["erased"] == 1
        rows = said_in(gateway)
        assert {(row["scenario"], row["operator"]) for row in rows} == {(COUNTER, f"(erased: record {done['record']})")}
        # No worker names what was erased: what is said from the answer on is another text.
        for _ in range(8):
            say(gateway, scenario=COUNTER, operator=CLERK)
        rows = wait_for(lambda: len(found := said_in(gateway)) == 17 and found)
        after = {digests(gateway, row["record"]) for row in rows if row["operator"] == CLERK}
        assert len([row for row in rows if row["operator"] == CLERK]) == 8
        assert len(after) == 1
        assert {scenario for scenario, _ in after | named} == {next(iter(named))[0]}
        assert next(iter(after))[1] != next(iter(named))[1]
        gateway.stop()
        assert CLERK.encode() not in octets(gateway.home.root)


def test_officers_words_live_beside_the_log_and_go_for_good(tmp_path: Path) -> None:
    """A stop says why: on record by digest, in its order in words; after a kill too, and erased it is nowhere."""
    with running_gateway(tmp_path / "var") as gateway:
        with gateway.officer("police-chen") as api:
            grant = api.get("/v1/grants")["items"][0]["id"]
            said = {"emergency": True, "incident": f"{CLERK} was seen to sell what was asked for"}
            done, _ = api.post_once(f"/v1/grants/{grant}/suspension", said)
        record = done["record"]
        wait_for(lambda: read(gateway, record))
        assert CLERK in read(gateway, record)["texts"]["reason"]["text"]
        assert CLERK.encode() not in octets(gateway.home.root / "ledger")
        gateway.stop(signal.SIGKILL)
        gateway.home.addresses_file.unlink()
        gateway.start()
        assert CLERK in command(gateway, "records", "show", record, "--as", "auditor-he")
        assert CLERK in command(gateway, "orders", "list", "--as", "police-chen")
        erased = command(
            gateway, "records", "erase", record, "--field", "reason", "--reason", "asked for", "--as", REGISTRAR
        )
        assert "erased 1 texts" in erased
        for told in (
            command(gateway, "records", "show", record, "--as", "auditor-he"),
            command(gateway, "orders", "list", "--as", "police-chen"),
            command(gateway, "grants", "show", grant, "--as", "police-chen"),
        ):
            assert CLERK not in told
            assert "(erased: record" in told
        with gateway.client() as client:
            assert client.get(PERSONS, params=KNOWN).status_code == 403, "the stop stands"
        gateway.stop()
        assert CLERK.encode() not in octets(gateway.home.root)


def read(gateway: RunningGateway, record: str) -> dict[str, Any]:
    """A record, once the log has it; empty until then."""
    with gateway.officer("auditor-he") as api:
        found = [row["record"] for row in api.get("/v1/records", kind="order", limit=100)["items"]]
        shown: dict[str, Any] = api.get(f"/v1/records/{record}") if record in found else {}
    return shown
