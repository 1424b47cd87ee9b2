"""A call that somebody asks about: what is said of it, and the call as the policies take it."""

from datetime import UTC, datetime

from pydantic import Field

from gateway.control.act.bodies import Body, Moment, Name, Slug
from gateway.domain.callers import Assurance
from gateway.domain.directory import Interface, SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.verdicts import Call
from gateway.store import Store


class CallBody(Body):
    """A call as it would be decided now, or `at` a time; without items it asks for what one grant gives."""

    department: Slug
    system: Name
    supplier: Slug
    interface: Slug
    purpose: str
    mode: SharingMode | None = None
    items: tuple[str, ...] | None = None
    parameters: dict[str, str] = Field(default_factory=dict)
    assurance: Assurance = Assurance.MTLS
    subjects: int = Field(1, ge=0, le=1 << 53, description="how many persons it asks about")
    at: Moment | None = Field(None, ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(2200, 1, 1, tzinfo=UTC))


def interface_of(store: Store, body: CallBody) -> Interface:
    """The interface that is called.

    Raises:
        GatewayError: `interface-unknown`.
    """
    found = store.interface(body.supplier, body.interface)
    if found is None:
        raise GatewayError("interface-unknown", f"there is no interface `{body.supplier}/{body.interface}`")
    return found


def call_of(store: Store, interface: Interface, body: CallBody) -> Call:
    """The call, of a system that can make it.

    Raises:
        GatewayError: `invalid-input` where the system is not the department's, or not registered and active.
    """
    system = store.system(body.system)
    # One answer for all: whether another department has such a system is not this one's to know.
    if system is None or not system.active or system.department != body.department:
        raise GatewayError(
            "invalid-input",
            "a call that nobody can make is not explained",
            faults=[{"field": "system", "fault": f"is no registered and active system of `{body.department}`"}],
        )
    return Call(
        system=body.system,
        department=body.department,
        assurance=body.assurance,
        interface=interface.key,
        dataset=interface.dataset,
        mode=body.mode or interface.modes[0],
        purpose=body.purpose,
        items=tuple(sorted(set(body.items))) if body.items is not None else None,
        parameters=tuple(sorted(body.parameters.items())),
        declared=("operator", "scenario", "subject") if body.subjects else ("operator", "scenario"),
        subjects=body.subjects,
        dates=system.dates,
    )
