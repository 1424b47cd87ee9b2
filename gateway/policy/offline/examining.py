"""Examining a candidate before it is put in force or in the shadow: its check, and who gains and who loses by it.

It reads what officers have sent, and takes as long as there are grants; so a running gateway does it in a process of
its own (`gateway.runtime.control.examining`), where neither a parser that fails nor a long comparison holds up
anything.
"""

import msgspec

from gateway.domain.policies import PolicySet
from gateway.policy.law.layers import parse_layers
from gateway.policy.offline.checking import Checked, check_set
from gateway.policy.offline.comparing import Comparison, Difference, Standing, compare

MAX_NAMED = 1_000
"""Grants and differences named; all are counted."""


class Loss(msgspec.Struct, frozen=True):
    """Who gains and who loses, in numbers and the first of their names.

    Args:
        grants: standing grants compared.
        datasets: datasets compared without a grant.
        calls: calls put to both sets.
        gaining: how many grants gain.
        losing: how many lose.
        unsettled: how many others may lose: it is not ruled out.
        takes_away: whether a standing grant, or a department without one, loses anything, or may.
        gives: whether one gains anything: what did not flow will.
        grants_gaining: ids, at most `MAX_NAMED`.
        grants_losing: likewise.
        grants_unsettled: likewise.
        differences: kinds of calls that differ, losses first and gains last, at most `MAX_NAMED`.
    """

    grants: int
    datasets: int
    calls: int
    gaining: int
    losing: int
    unsettled: int
    takes_away: bool
    gives: bool
    grants_gaining: tuple[str, ...]
    grants_losing: tuple[str, ...]
    grants_unsettled: tuple[str, ...]
    differences: tuple[Difference, ...]


class Examined(msgspec.Struct, frozen=True):
    """What an examination found; without a `loss` where the check found something, or nothing was to be compared."""

    checked: Checked
    loss: Loss | None = None


def examine(candidate: PolicySet, current: PolicySet | None, standing: Standing, now_unix: int) -> Examined:
    """Check the candidate and, if it is sound, compare it with `current` over what stands."""
    checked = check_set(candidate)
    if not checked.is_sound or current is None:
        return Examined(checked)
    old, new = (parse_layers(each.files, each.layers) for each in (current, candidate))
    return Examined(checked, loss_of(compare(old, new, standing, now_unix)))


def loss_of(found: Comparison) -> Loss:
    """A comparison in a bounded form."""
    differences = sorted(found.differences, key=lambda one: ("loses", "may-lose", "gains").index(one.change))
    return Loss(
        found.grants,
        found.datasets,
        found.calls,
        len(found.gaining),
        len(found.losing),
        len(found.unsettled),
        found.takes_away,
        found.gives,
        found.gaining[:MAX_NAMED],
        found.losing[:MAX_NAMED],
        found.unsettled[:MAX_NAMED],
        tuple(differences[:MAX_NAMED]),
    )
