"""Applications and their clocks: reply, missing materials, extension, sharing (Decree 809 Art. 20 to 22)."""

from datetime import date
from typing import Any

import msgspec
import pytest

from gateway.domain.calendar import Due
from gateway.domain.directory import SharingAttribute, SharingMode
from gateway.domain.errors import GatewayError
from gateway.store import Store, etag
from gateway.store.applications import (
    ZHONGSHAN,
    Application,
    ApplicationState,
    approve,
    ask_materials,
    complete,
    extend,
    receive,
    refuse,
    share,
    withdraw,
)

MONDAY = date(2026, 3, 2)


def application(id: str = "a1", **fields: Any) -> Application:  # noqa: A002 - the domain's name
    return Application(
        **{
            "id": id,
            "department": "civil-affairs",
            "dataset": "household",
            "supplier": "public-security",
            "sharing_attribute": SharingAttribute.CONDITIONAL,
            "items": ("name",),
            "purposes": ("marriage-registration",),
            "modes": (SharingMode.QUERY,),
            "legal_basis": "婚姻登记条例",
            "scenario": "at the counter",
            "scope_of_use": "identity check",
            "valid_until": date(2027, 3, 1),
            "approved_by": "李四",
            "received_on": MONDAY,
            **fields,
        }
    )


def refused(work: Any, *arguments: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        work(*arguments)
    return caught.value


def test_reply_is_due_by_attribute_and_region() -> None:
    """One working day for unconditional data, ten for conditional, five in Zhongshan, from the day after receipt."""
    unconditional = application(sharing_attribute=SharingAttribute.UNCONDITIONAL)
    assert receive(unconditional).due == Due(date(2026, 3, 3), provisional=False)
    assert receive(application()).due == Due(date(2026, 3, 16), provisional=False)
    assert receive(application(), ZHONGSHAN).due == Due(date(2026, 3, 9), provisional=False)


def test_holidays_are_not_working_days() -> None:
    """A period over the National Day holiday is longer; one into an unannounced year is provisional."""
    assert receive(application(received_on=date(2025, 9, 30))).due == Due(date(2025, 10, 21), provisional=False)
    late = receive(application(received_on=date(2026, 12, 30)))
    assert late.due is not None
    assert late.due.provisional


def test_missing_materials_are_named_once_and_stop_the_clock() -> None:
    """Missing materials are named in one go; the clock begins anew when they are there; no second time (Art. 21)."""
    waiting = ask_materials(receive(application()), ["授权书", "依据"])
    assert (waiting.state, waiting.due, waiting.missing) == (
        ApplicationState.AWAITING_MATERIALS,
        None,
        ("授权书", "依据"),
    )
    assert refused(refuse, waiting, MONDAY, "incomplete").code == "conflict"
    again = complete(waiting, date(2026, 3, 9))
    assert again.due == Due(date(2026, 3, 23), provisional=False)
    assert "in one go" in refused(ask_materials, again, ["more"]).detail
    assert refused(ask_materials, receive(application()), []).code == "invalid-input"


def test_reply_is_put_off_once_with_approval() -> None:
    """At most ten working days more, with the competent department's approval; Zhongshan allows none."""
    received = receive(application())
    longer = extend(received, 10, "批〔2026〕3号")
    assert longer.due == Due(date(2026, 3, 30), provisional=False)
    assert refused(extend, longer, 1, "x").code == "conflict"
    assert {fault["field"] for fault in refused(extend, received, 11, " ").members["faults"]} == {"days", "reference"}
    assert "Zhongshan" in refused(extend, received, 1, "x", ZHONGSHAN).detail


def test_approval_starts_the_sharing_clock() -> None:
    """Data are shared within twenty working days from the reply (Art. 22)."""
    approved = approve(receive(application()), date(2026, 3, 16), "grant-1")
    assert (approved.replied_in_time, approved.grant) == (True, "grant-1")
    assert approved.due == Due(date(2026, 4, 14), provisional=False)
    assert share(approved, date(2026, 4, 14)).shared_in_time is True
    late = share(approved, date(2026, 4, 15))
    assert (late.state, late.shared_in_time, late.due) == (ApplicationState.SHARED, False, None)


def test_refusal_states_reasons() -> None:
    """A refusal without reasons is none (Art. 21); a late one is counted as late."""
    assert refused(refuse, receive(application()), MONDAY, " ").members["faults"][0]["field"] == "reasons"
    done = refuse(receive(application()), date(2026, 3, 17), "beyond the scope of duties")
    assert (done.state, done.replied_in_time) == (ApplicationState.REFUSED, False)


ACTS = {
    "ask": (lambda a: ask_materials(a, ["x"]), {"received"}),
    "complete": (lambda a: complete(a, MONDAY), {"awaiting-materials"}),
    "extend": (lambda a: extend(a, 1, "x"), {"received"}),
    "approve": (lambda a: approve(a, MONDAY, "g"), {"received"}),
    "refuse": (lambda a: refuse(a, MONDAY, "r"), {"received"}),
    "share": (lambda a: share(a, MONDAY), {"approved"}),
    "withdraw": (withdraw, {"received", "awaiting-materials"}),
}


@pytest.mark.parametrize("state", list(ApplicationState))
@pytest.mark.parametrize("act", ACTS)
def test_act_fits_its_states_only(act: str, state: ApplicationState) -> None:
    """Each act is taken in the states of the package's table, and refused in every other."""
    work, states = ACTS[act]
    at = msgspec.structs.replace(receive(application()), state=state)
    if state.value in states:
        assert work(at).state is not None
    else:
        assert f"is {state.value}" in refused(work, at).detail


def test_overdue_and_timeliness_by_supplier(store: Store) -> None:
    """What is overdue is listed, and each supplier's timeliness counted (Art. 38)."""
    received = receive(application())
    approved = approve(receive(application("a2")), date(2026, 3, 16), "g2")
    with store.transaction() as tx:
        tx.put_application(received)
        tx.put_application(approved)
        tx.put_application(share(approve(receive(application("a3")), date(2026, 3, 17), "g3"), date(2026, 4, 1)))
        tx.put_application(refuse(receive(application("a4", supplier="justice")), MONDAY, "r"))
    assert tx.changes == []
    assert store.application("a2") == approved
    assert store.application("none") is None
    assert store.overdue_applications(date(2026, 3, 16)) == ()
    assert [one.id for one in store.overdue_applications(date(2026, 4, 15))] == ["a1", "a2"]
    assert store.overdue_applications(date(2026, 4, 15), supplier="justice") == ()
    justice, police = store.timeliness(date(2026, 4, 15))
    assert (justice.supplier, justice.replied_in_time, justice.replied_late) == ("justice", 1, 0)
    assert (police.replied_in_time, police.replied_late, police.shared_in_time) == (1, 1, 1)
    assert (police.reply_overdue, police.sharing_overdue) == (1, 1)
    assert [one.supplier for one in store.timeliness(MONDAY, supplier="justice")] == ["justice"]
    tag = etag(received)
    with store.transaction() as tx:
        tx.put_application(extend(received, 5, "ref"), if_match=tag)
    with pytest.raises(GatewayError, match="changed since"), store.transaction() as tx:
        tx.put_application(withdraw(received), if_match=tag)
