"""Steps that do little besides moving their case, as several processes have them."""

from datetime import date

from gateway.control.act.acting import Deed
from gateway.control.act.cases import clocks_of
from gateway.control.act.problems import invalid
from gateway.control.processes.steps import Done
from gateway.domain.processes.cases import Case, require_extension
from gateway.domain.processes.statements import Again, Extension, Reasons, Told, Urging


def require_to_come(deed: Deed, day: date) -> None:
    """Raises `invalid-input` where the day by which something is due has passed."""
    if day < deed.today:
        raise invalid([{"field": "due_on", "fault": "has passed"}])


def again(deed: Deed, _case: Case, said: Again) -> Done:
    """What was shown does not do: it is due anew, for stated reasons, which stand on record."""
    require_to_come(deed, said.due_on)
    return Done(facts={"provisional": False}, told={"reasons": said.reasons})


def with_reasons(_deed: Deed, _case: Case, said: Reasons | Urging) -> Done:
    """A step for stated reasons, which stand on record."""
    return Done(told={"reasons": said.reasons})


def said_alone(_deed: Deed, _case: Case, _said: Told) -> Done:
    """A step whose words stand in the case's history alone."""
    return Done(kept=())


def request_extension(deed: Deed, case: Case, said: Extension) -> Done:
    """Ask that what is due be put off, within the days of the rule."""
    require_extension(case, said.days, clocks_of(deed.services, deed.tx, case))
    return Done(kept=("days",), facts={"extension_reasons": said.reasons}, told={"reasons": said.reasons})
