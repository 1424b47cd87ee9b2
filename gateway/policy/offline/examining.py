"""Examining a candidate before it is put in force or in the shadow: its check, its proofs, who gains and who loses.

It reads what officers have sent, and takes as long as there are grants; so a running gateway does it in a process of
its own (`gateway.runtime.control.examining`), where neither a parser that fails nor a long comparison holds up
anything.
"""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Literal

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.policies import PolicySet, Proved
from gateway.policy.law.layers import SCHEMA_FILE, Layers, parse_layers
from gateway.policy.law.settled import EXAMINED, Settled
from gateway.policy.offline.checking import Checked, check_set
from gateway.policy.offline.comparing import Comparison, Difference, Standing, compare
from gateway.policy.offline.normal_forms import literals_of
from gateway.policy.proofs.kept import proved_of
from gateway.policy.proofs.proving import Compared, Proof, compare_all, prove
from gateway.policy.proofs.solver import find_tools

COMPARE_SECONDS = 5.0
"""How long a comparison works at most that was not asked to be thorough. The check of a set before it takes three or
four, so that whoever asks has an answer within ten."""

MAX_NAMED = 1_000
"""Grants and differences named; all are counted."""

Solve = Collection[Literal["prove", "compare"]]
"""What the solver is asked of a candidate: its theorems, and what it could ever permit beside what is in force."""


class Loss(msgspec.Struct, frozen=True):
    """Who gains and who loses, in numbers and the first of their names.

    Args:
        grants: standing grants compared.
        datasets: datasets compared without a grant.
        calls: calls put to both sets.
        gaining: how many grants gain.
        losing: how many lose.
        unsettled: how many others may lose: it is not ruled out.
        takes_away: whether a standing grant, or a department without one, loses anything, or may; also where that is
            not known, for the comparison is not whole.
        gives: whether one gains anything: what did not flow will.
        grants_gaining: ids, at most `MAX_NAMED`.
        grants_losing: likewise.
        grants_unsettled: likewise.
        differences: kinds of calls that differ, losses first and gains last, at most `MAX_NAMED`.
        strangers: what the candidate names and the directory does not have (`strangers`), at most `MAX_NAMED`.
        is_whole: False where time was up before everything that stands was compared: ask for a thorough one.
        uncounted: convergence rules for which what was drawn before is not counted here, at most `MAX_NAMED`.
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
    strangers: tuple[str, ...] = ()
    is_whole: bool = True
    uncounted: tuple[str, ...] = ()


class Proving(msgspec.Struct, frozen=True):
    """What the solver found of a candidate.

    Args:
        proved: what the proofs come to; None where there is no solver here, or it was not asked to prove.
        failed: theorems and statements that are not proved, each with its case if there is one.
        ever: actions for which it could ever be otherwise than under what is in force, over all requests.
        unasked: why something was not asked; "" where all was.
    """

    proved: Proved | None = None
    failed: tuple[Proof, ...] = ()
    ever: tuple[Compared, ...] = ()
    unasked: str = ""


class Examined(msgspec.Struct, frozen=True):
    """What an examination found; without a `loss` where the check found something, or nothing was to be compared."""

    checked: Checked
    loss: Loss | None = None
    proving: Proving = Proving()


def examine(
    candidate: PolicySet,
    current: PolicySet | None,
    standing: Standing,
    now_unix: int,
    solve: Solve = (),
    *,
    thorough: bool = False,
    settled: Settled = EXAMINED,
) -> Examined:
    """Check the candidate and, if it is sound, compare it with `current` over what stands, and ask the solver.

    Unless it shall be `thorough`, the comparison tells what it found within `COMPARE_SECONDS`. What the settings keep
    shut (`settled`) is not lost.
    """
    checked = check_set(candidate)
    if not checked.is_sound:
        return Examined(checked)
    proving = _proving(candidate, current, solve)
    if current is None:
        return Examined(checked, None, proving)
    old, new = (parse_layers(each.files, each.layers) for each in (current, candidate))
    may_go_on = until(float("inf") if thorough else COMPARE_SECONDS)
    found = compare(old, new, standing, now_unix, may_go_on=may_go_on, settled=settled)
    loss = loss_of(found, strangers(new, standing))
    return Examined(checked, loss, proving)


def until(seconds: float) -> Callable[[], bool]:
    """Whether this thread has worked for less than so many seconds from now on.

    Its work and not the clock is counted: beside much else it takes longer, and finds no less.
    """
    last = time.thread_time() + seconds
    return lambda: time.thread_time() < last


def strangers(layers: Layers, standing: Standing) -> tuple[str, ...]:
    """What policies name that the directory does not have, as Cedar writes it: departments, released datasets, systems.

    A rule about one holds nobody, by a slip of a letter or because its time has not come.
    """
    named = literals_of([layers])
    known = {
        "Department": {department.id for department in standing.departments()} if named.get("Department") else set(),
        "Dataset": set(standing.datasets()) if named.get("Dataset") else set(),
        "System": {system for system in named.get("System", ()) if standing.home_of(system) is not None},
    }
    return tuple(
        f"{kind}::{msgspec.json.encode(name).decode()}"
        for kind, ids in known.items()
        for name in sorted(named.get(kind, frozenset()) - ids)
    )


def _proving(candidate: PolicySet, current: PolicySet | None, solve: Solve) -> Proving:
    if not solve:
        return Proving()
    try:
        tools = find_tools()
    except GatewayError as error:
        return Proving(unasked=error.detail)
    proofs = prove(candidate, tools) if "prove" in solve else ()
    proved = proved_of(candidate, proofs, tools) if proofs else None
    ever: tuple[Compared, ...] = ()
    unasked = ""
    if "compare" in solve and current is not None:
        if current.files[SCHEMA_FILE] == candidate.files[SCHEMA_FILE]:
            ever = tuple(one for one in compare_all(current, candidate, tools) if one.change != "equal")
        else:
            unasked = "what could ever be is compared under one schema, and these have two"
    return Proving(proved, tuple(one for one in proofs if one.result != "proved"), ever, unasked)


def loss_of(found: Comparison, unknown: Sequence[str] = ()) -> Loss:
    """A comparison in a bounded form, with the candidate's `strangers`."""
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
        tuple(unknown[:MAX_NAMED]),
        found.is_whole,
        found.uncounted[:MAX_NAMED],
    )
