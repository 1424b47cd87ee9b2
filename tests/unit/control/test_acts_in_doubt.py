"""An act of which the state did not say whether it has kept it: its record says nothing false, and is settled later."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gateway.control.act.examples import GRANT, SUSPENSION
from gateway.domain.errors import GatewayError, InDoubtError
from gateway.domain.grants import GrantState
from gateway.domain.uses import RecordKind
from gateway.runtime.start.reconciling import settle
from gateway.store import Store, StoreTransaction
from tests.support.control import World, done, refused


@pytest.fixture
def world(world: World) -> World:
    done(world.post("police", "/v1/grants", GRANT))
    return world


@pytest.fixture
def voided(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The records that are called void, in order."""
    found: list[str] = []
    append_all = world.acts.append_all

    def appended(kind: RecordKind, rows: Any, **options: Any) -> tuple[str, ...]:
        found.extend(row["voids"] for row in rows if row.get("voids"))
        return append_all(kind, rows, **options)

    monkeypatch.setattr(world.acts, "append_all", appended)
    return found


@contextmanager
def breaking_off(monkeypatch: pytest.MonkeyPatch, *, is_kept: bool) -> Iterator[None]:
    """The connection to the state breaks at each commit: after it is kept, or before."""
    transaction = Store.transaction

    @contextmanager
    def breaks_off(self: Store, *, urgent: bool = False) -> Iterator[Any]:
        lost = GatewayError("unavailable")
        try:
            with transaction(self, urgent=urgent) as tx:
                yield tx
                if not is_kept:
                    raise lost
        except GatewayError as error:
            if error is not lost:
                raise
        raise InDoubtError("unavailable", "the state did not say whether it has kept this")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "transaction", breaks_off)
        yield


def stop(world: World, **options: Any) -> Any:
    return world.post("police", f"/v1/grants/{GRANT['id']}/suspension", SUSPENSION, **options)


def state_of(world: World) -> GrantState:
    grant = world.store.grant(GRANT["id"])
    assert grant is not None
    return grant.state


@pytest.mark.parametrize("is_kept", [True, False])
def test_an_act_in_doubt_is_called_void_only_where_it_does_not_stand(
    world: World, voided: list[str], monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    """The officer is told that nobody knows; the record of a stop that stands is never called void."""
    with breaking_off(monkeypatch, is_kept=is_kept):
        refused(stop(world), "unavailable")
    assert not voided
    assert (state_of(world) is GrantState.SUSPENDED) is is_kept
    world.services.unsettled.settle(world.store, world.acts)
    assert len(voided) == (0 if is_kept else 1)
    assert not world.services.unsettled


def test_an_act_in_doubt_stays_so_while_the_state_cannot_say(
    world: World, voided: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked again until it can; meanwhile nothing counts as settled, so that a next start looks at it too."""
    with breaking_off(monkeypatch, is_kept=False):
        refused(stop(world), "unavailable")
        with pytest.raises(GatewayError, match="unavailable"):
            world.services.unsettled.settle(world.store, world.acts)
    assert world.services.unsettled
    told: list[Any] = []
    monkeypatch.setattr("gateway.runtime.start.reconciling.checkpoint_of", told.append)
    settle(world.store, world.services.tree.parent, "origin", unsettled=world.services.unsettled)
    assert not told
    world.services.unsettled.settle(world.store, world.acts)
    assert len(voided) == 1
    settle(world.store, world.services.tree.parent, "origin", unsettled=world.services.unsettled)
    assert told


def test_who_asks_again_under_the_key_learns_that_the_stop_stands(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An officer whose answer was lost repeats the request, and is given the answer of the act that stands."""
    key = {"Idempotency-Key": "stop-once-1"}
    with breaking_off(monkeypatch, is_kept=True):
        refused(stop(world, headers=key), "unavailable")
    answer = stop(world, headers=key)
    assert done(answer)["grant"]["state"] == "suspended"
    assert answer.headers["Idempotency-Replayed"] == "true"


def test_an_act_between_record_and_commit_is_not_settled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is committed nothing counts as settled: a process that is killed then leaves it to the next start."""
    seen: list[bool] = []
    note_acts = StoreTransaction.note_acts

    def noted(self: StoreTransaction, *given: Any) -> None:
        seen.append(bool(world.services.unsettled))
        note_acts(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(StoreTransaction, "note_acts", noted)
        done(stop(world))
    assert seen == [True]
    assert not world.services.unsettled


def test_an_act_that_surely_failed_is_void_at_once(
    world: World, voided: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that is rolled back leaves nothing to ask about."""

    def broken(*_: Any) -> None:
        raise OSError("no disk")

    with monkeypatch.context() as patch:
        patch.setattr("gateway.store.StoreTransaction.note_acts", broken)
        assert stop(world).status_code == 500
    assert len(voided) == 1
    assert not world.services.unsettled
    assert state_of(world) is GrantState.ISSUED
