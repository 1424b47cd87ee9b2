"""One wrapper for whatever the loop calls: a mistake in a callback ends the exchange it belongs to, and no other.

The loop has nobody to tell of an exception in a callback: it logs it and goes on, and the exchange would wait for what
never comes, with its slot and its connections. So each method that the loop, a task, the wheel, the ledger or another
exchange calls back is an `@ends_exchange`, and whoever has such methods has `broken`, which ends what is under way and
raises nothing.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")


class Breakable(Protocol):
    """Who is called back."""

    def broken(self) -> None:
        """The gateway made a mistake here: end what is under way. Raises nothing."""


B = TypeVar("B", bound=Breakable)


def ends_exchange(callback: Callable[Concatenate[B, P], T]) -> Callable[Concatenate[B, P], T | None]:
    """`callback`, but that what it raises ends its owner's exchange.

    The loop passes positions only. Most callbacks take one value or none, and six of them are called for every call:
    these have a wrapper of their own, without a tuple of what was passed (tests/bench/data_plane/in_process.py).
    """
    called: Callable[..., T] = callback

    def without(self: B, /) -> T | None:
        try:
            return called(self)
        except Exception:  # noqa: BLE001 - nobody else would end this exchange
            self.broken()
            return None

    def with_one(self: B, value: Any, /) -> T | None:
        try:
            return called(self, value)
        except Exception:  # noqa: BLE001 - as above
            self.broken()
            return None

    def with_more(self: B, /, *args: Any) -> T | None:
        try:
            return called(self, *args)
        except Exception:  # noqa: BLE001 - as above
            self.broken()
            return None

    values = list(inspect.signature(callback).parameters.values())[1:]
    is_plain = all(value.kind is value.POSITIONAL_OR_KEYWORD and value.default is value.empty for value in values)
    fitting = (without, with_one)[len(values)] if is_plain and len(values) < 2 else with_more
    guarded = functools.wraps(callback)(fitting)
    guarded.__dict__["ends_exchange"] = True
    return cast("Callable[Concatenate[B, P], T | None]", guarded)


def is_guarded(callback: Any) -> bool:
    """Whether a function is an `@ends_exchange`."""
    return bool(getattr(callback, "ends_exchange", False))
