"""A gateway over a real primary and standby, on hosts of their own: killed, silent, split, healed, and left alone."""

import contextlib
import logging
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest

from gateway.domain.errors import GatewayError
from gateway.runtime.demo.population import Population
from gateway.runtime.demo.stage import bearer_token
from gateway.runtime.demo.story import PURPOSE
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.session.api import Api
from gateway.store import Store
from tests.support.gateways import RunningGateway, running_gateway, wait_for
from tests.support.networks import namespace_hosts
from tests.support.nodes import nodes_over
from tests.support.postgres import Postgres, running_postgres

pytestmark = pytest.mark.deep

MARRIAGES = "/civil-affairs/marriages"
GRANT = "G-2026-0002"
WIFE = Population().marriages[0]["wife"]["id_number"]
PATIENCE_SECONDS = 60
"""For a machine that does much besides; what is measured is printed."""

log = logging.getLogger(__name__)


def called(client: httpx.Client) -> str:
    answer = client.get(MARRIAGES, params={"id_number": WIFE})
    return "200" if answer.status_code == 200 else f"{answer.status_code} {answer.json()['type']}"


def plain_client(gateway: RunningGateway, token: str = "") -> httpx.Client:
    """A client that tries nothing again."""
    token = token or bearer_token(f"{gateway.control}/oauth/token", gateway.key)
    fields = {"Authorization": f"Bearer {token}", "Sharing-Purpose": PURPOSE}
    return httpx.Client(base_url=gateway.data_plane, headers=fields, trust_env=False, timeout=15)


def parts(gateway: RunningGateway) -> dict[str, bool]:
    """What /readyz says, which answers whatever hangs."""
    found: dict[str, bool] = httpx.get(f"{gateway.control}/readyz", trust_env=False, timeout=10).json()["parts"]
    return found


def until(what: str, ask: Callable[[], bool]) -> None:
    """Wait until it is so, and print how long that took."""
    began = time.monotonic()
    assert wait_for(ask, PATIENCE_SECONDS), what
    print(f"{what}: {time.monotonic() - began:.1f} s")


def said(gateway: RunningGateway, words: str) -> bool:
    return words in gateway.log.read_text("utf-8", "replace")


def refused(url: str, memory: Path | None) -> str:
    """What opening the state is refused with."""
    with pytest.raises(GatewayError) as failure:
        Store.open(url, migrate_forward=False, memory=memory)
    return failure.value.detail or ""


def test_state_follows_the_promoted_standby_and_never_the_old_primary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONE-TIMELINE: silent, promoted, healed, and the old one put in its place, also after a restart of everything."""
    with namespace_hosts(2) as (first, second), running_postgres(first) as old:
        database = old.create_database()
        with old.standby(second) as new:
            url = old.url(database, new)
            monkeypatch.setenv("GATEWAY_STATE__URL", url)
            with running_gateway(tmp_path / "var") as gateway, plain_client(gateway) as client:
                assert called(client) == "200"
                first.fall_silent()
                until("refused after the primary fell silent", lambda: called(client).startswith("503"))
                until("not ready", lambda: not parts(gateway)["state"])
                new.follow_no_more()
                new.promote()
                until("served after the promotion", lambda: called(client) == "200")
                until("ready after the promotion", lambda: parts(gateway)["state"])
                with gateway.officer() as api:
                    assert api.get("/v1/grants")["items"]
                # Two at once: which of them others write to cannot be known.
                first.heal()
                until("refused with two primaries", lambda: called(client).startswith("503"))
                until("said so", lambda: said(gateway, "has two primaries"))
                until("not ready", lambda: not parts(gateway)["state"])
                old.stop(signal.SIGKILL)
                until("served after the old one ended", lambda: called(client) == "200")
                new.stop(signal.SIGKILL)
                until("refused after it was killed", lambda: called(client).startswith("503"))
                new.start()
                until("served after it came back", lambda: called(client) == "200")
            memory = GatewayHome(tmp_path / "var").state_memory
            # The new one away, and the old one back, alone: it is never taken for the primary again.
            new.stop(signal.SIGKILL)
            old.start()
            assert "timeline 2 has begun elsewhere" in refused(url, memory)
            Store.open(url, migrate_forward=False).close()


def test_three_nodes_follow_the_promoted_standby_and_refuse_two_primaries(tmp_path: Path) -> None:
    """ONE-TIMELINE on three nodes: all refuse, all come back by themselves, none is left on the server of before, and a
    stop given on one of them holds on all."""
    with namespace_hosts(2) as (first, second), running_postgres(first) as old:
        database = old.create_database()
        with old.standby(second) as new, nodes_over(tmp_path, [old.url(database, new)] * 3) as nodes:
            token = bearer_token(f"{nodes[0].control}/oauth/token", nodes[0].key)
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(plain_client(node, token)) for node in nodes]

                def all_say(status: str) -> Callable[[], bool]:
                    return lambda: all(called(client).startswith(status) for client in clients)

                assert wait_for(all_say("200"), PATIENCE_SECONDS), [called(client) for client in clients]
                first.fall_silent()
                until("three refused while the primary is silent", all_say("503"))
                time.sleep(10)
                first.heal()
                until("three served after it was healed", all_say("200"))
                first.fall_silent()
                until("three refused after the primary fell silent", all_say("503"))
                until("three not ready", lambda: not any(parts(node)["state"] for node in nodes))
                new.follow_no_more()
                new.promote()
                until("three served after the promotion", all_say("200"))
                assert beats_go_on(new, database) == len(nodes)
                first.heal()
                until("three refused with two primaries", all_say("503"))
                assert all(wait_for(partial(said, node, "has two primaries"), 30) for node in nodes)
                assert beats_go_on(old, database) == 0, "a node beats on the server of before"
                old.stop(signal.SIGKILL)
                until("three served after the old one ended", all_say("200"))
                assert beats_go_on(new, database) == len(nodes)
                with nodes[2].officer() as api:
                    assert not refusal(api)
                assert [called(client) for client in clients] == ["403 /problems/suspended"] * 3


def beats_go_on(postgres: Postgres, database: str) -> int:
    """How many nodes beat on this server within two seconds."""
    found: list[dict[str, int]] = []
    for pause in (2.0, 0.0):
        with postgres.connect(database) as connection:
            found.append(dict(connection.execute("SELECT id, beat_ms FROM nodes").fetchall()))
        time.sleep(pause)
    return sum(found[0].get(node) != beat for node, beat in found[1].items())


def test_stop_that_the_standby_lacks_is_held_again_before_anybody_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BARRIER across an asynchronous failover: the node's own record of the stop outlives the server that had it."""
    with namespace_hosts(2) as (first, second), running_postgres(first) as old:
        database = old.create_database()
        with old.standby(second) as new:
            monkeypatch.setenv("GATEWAY_STATE__URL", old.url(database, new))
            with running_gateway(tmp_path / "var") as gateway, plain_client(gateway) as client:
                assert called(client) == "200"
                new.follow_no_more()
                with gateway.officer() as api:
                    assert not refusal(api)
                assert called(client) == "403 /problems/suspended"
                first.fall_silent()
                until("refused after the primary fell silent", lambda: called(client).startswith("503"))
                new.promote()
                seen: list[str] = []
                until("decided after the promotion", lambda: not (seen.append(called(client)) or seen[-1][:3] == "503"))
                assert set(seen[-1:]) == {"403 /problems/suspended"}
                assert {called(client) for _ in range(5)} == {"403 /problems/suspended"}
                assert said(gateway, "lacks the last acts")


def test_act_that_no_standby_confirms_is_told_so_and_nothing_is_served_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STALE-DENIES: a state that keeps no act gives no lease; what waits holds no lock; all goes on by itself."""
    with running_postgres(synchronous_standby_names="*", synchronous_commit="local") as primary:
        database = primary.create_database()
        with primary.standby() as standby:
            # Only now: without its standby the server would not have made the database.
            with primary.connect("postgres") as connection:
                connection.execute("ALTER ROLE gateway SET synchronous_commit = 'on'")
            monkeypatch.setenv("GATEWAY_STATE__URL", primary.url(database, standby))
            with running_gateway(tmp_path / "var") as gateway, plain_client(gateway) as client:
                assert called(client) == "200"
                with gateway.officer() as api:
                    standby.stand_still(still=True)
                    try:
                        began = time.monotonic()
                        told = refusal(api)
                        print(f"the first act answered after {time.monotonic() - began:.1f} s: {told}")
                        assert "durable" in told
                        until("refused", lambda: called(client).startswith("503"))
                        began = time.monotonic()
                        told = refusal(api)
                        print(f"the next act answered after {time.monotonic() - began:.1f} s: {told}")
                        assert "nothing was changed" in told
                        until("not ready", lambda: not parts(gateway)["state"])
                        assert said(gateway, "no synchronous standby confirms")
                    finally:
                        standby.stand_still(still=False)
                    until("served again", lambda: called(client) in {"200", "403 /problems/suspended"})
                    until("acts again", lambda: not refusal(api))


def refusal(api: Api) -> str:
    """Why a suspension was refused; "" where it was done, or stands already."""
    try:
        api.post(f"/v1/grants/{GRANT}/suspension", {"violation": "another purpose", "rectify_by": "2099-01-31"})
    except GatewayError as error:
        return "" if error.code == "conflict" else error.detail or error.code
    return ""
