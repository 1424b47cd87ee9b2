"""How far the calendar of working days reaches, and which policies in force ask for it, for `status` and `check`."""

from datetime import date

import msgspec

from gateway.domain.calendar import last_known_day
from gateway.policy.offline.activating import PolicyKeeper
from gateway.runtime.home import GatewayHome
from gateway.runtime.policies import initial_policies, settled_by
from gateway.runtime.settings import Settings
from gateway.store import Store

SOON_DAYS = 60
"""How long before the last day that is known it is told: notice of a year is given in the November before it."""

ADVICE = "bring the package `chinesecalendar` up to date, once the State Council has given notice of the next year"


class Reach(msgspec.Struct, frozen=True):
    """How far the calendar reaches.

    Args:
        last: the last day that a notice tells of.
        today: the day that it is.
        rules: ids of the policies in force, on uses, that ask for the calendar.
    """

    last: date
    today: date
    rules: tuple[str, ...]

    @property
    def is_short(self) -> bool:
        """Whether uses are denied already, for a policy asks what nobody knows."""
        return bool(self.rules) and self.today > self.last

    @property
    def ends_soon(self) -> bool:
        """Whether it is time to look."""
        return (self.last - self.today).days < SOON_DAYS

    def told(self) -> str:
        """In one sentence."""
        asks = f"; {len(self.rules)} policies in force ask for it, such as `{self.rules[0]}`" if self.rules else ""
        if self.is_short:
            return f"working days are known until {self.last}, and what policies ask of today is denied{asks}"
        return f"working days are known until {self.last}{asks}"


def calendar_reach(home: GatewayHome, settings: Settings, today: date) -> Reach:
    """How far the calendar reaches on `today`.

    Raises:
        GatewayError: where the state or the policies in force cannot be read.
    """
    store = Store.open(home.state_url(settings), memory=home.state_memory, migrate_forward=False, read_only=True)
    with store:
        keeper = PolicyKeeper(store, initial_policies(settings), settled_by(settings))
        return Reach(last_known_day(), today, tuple(sorted(keeper.now.layers.calendar_rules)))
