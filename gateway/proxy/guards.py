"""One wrapper for whatever the loop calls: a mistake in a callback ends the exchange it belongs to, and no other.

The loop has nobody to tell of an exception in a callback: it logs it and goes on, and the exchange would wait for what
never comes, with its slot and its connections. So each method that the loop, a task, the wheel, the ledger or another
exchange calls back is an `@ends_exchange`, and whoever has such methods has `broken`, which ends what is under way and
raises nothing.
"""

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Breakable(Protocol):
    """Who is called back."""

    def broken(self) -> None:
        """The gateway made a mistake here: end what is under way. Raises nothing."""


B = TypeVar("B", bound=Breakable)


def ends_exchange(callback: Callable[Concatenate[B, P], T]) -> Callable[Concatenate[B, P], T | None]:
    """`callback`, but that what it raises ends its owner's exchange."""

    @functools.wraps(callback)
    def guarded(self: B, /, *args: P.args, **named: P.kwargs) -> T | None:
        try:
            return callback(self, *args, **named)
        except Exception:  # noqa: BLE001 - nobody else would end this exchange
            self.broken()
            return None

    guarded.__dict__["ends_exchange"] = True
    return guarded


def is_guarded(callback: Any) -> bool:
    """Whether a function is an `@ends_exchange`."""
    return bool(getattr(callback, "ends_exchange", False))
