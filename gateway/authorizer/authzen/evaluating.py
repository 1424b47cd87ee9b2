"""One evaluation, by one evaluator: AuthZEN's words to a `Call`, the policies' answer to AuthZEN's.

An evaluator asks about the departments and datasets that the settings name for it, and nothing else: what it may not
ask about and what does not exist are answered alike, so that it learns nothing of either.
"""

from collections.abc import Awaitable
from inspect import isawaitable
from typing import Any, Protocol, TypeVar

import msgspec

from gateway.authorizer.authzen.messages import Asked
from gateway.domain.callers import Assurance
from gateway.domain.directory import Interface, SharingMode, System
from gateway.domain.errors import GatewayError
from gateway.domain.verdicts import Call, Verdict
from gateway.proxy.plane import DataPlane

SUBJECT, RESOURCE = "system", "interface"
MODES = {mode.value: mode for mode in SharingMode}
UNASKED = "not-asked-for"
"""Why nothing is permitted: the evaluator may not ask about it, or it is not there."""
_WORDS = 256

T = TypeVar("T")


class Evaluator(msgspec.Struct, frozen=True):
    """A tool that asks.

    Args:
        name: as the settings have it.
        digest: SHA-256 of its credential.
        departments: whose systems it may ask about, for whatever dataset.
        datasets: about which it may ask, for whichever system.
    """

    name: str
    digest: bytes
    departments: frozenset[str]
    datasets: frozenset[str]

    def may_ask(self, department: str, dataset: str) -> bool:
        """Whether it may ask what a department may do with a dataset."""
        return department in self.departments or dataset in self.datasets


class Book(Protocol):
    """What evaluations look up besides what the data plane does."""

    def system(self, id: str) -> System | Awaitable[System | None] | None:  # noqa: A002 - the domain's name
        """A registered system."""

    async def systems(self, department: str | None, cursor: str | None, limit: int) -> tuple[list[System], str | None]:
        """A page of systems, by id, and the next page's cursor."""

    async def interfaces(
        self, dataset: str | None, cursor: str | None, limit: int
    ) -> tuple[list[Interface], str | None]:
        """A page of active interfaces, by supplier and id, and the next page's cursor."""


class Answer(msgspec.Struct, frozen=True):
    """What is said of one evaluation.

    Args:
        decision: whether it is permitted.
        context: why not, or what binds who carries it out.
    """

    decision: bool
    context: dict[str, Any]


def denial(reason: str, **more: Any) -> Answer:
    """No, and why."""
    return Answer(False, {"reason": reason, **more})


class Evaluating:
    """Evaluates, on the data plane's ports.

    Args:
        plane: the data plane.
        book: looks up systems.
    """

    def __init__(self, plane: DataPlane, book: Book) -> None:
        self.plane = plane
        self.book = book

    async def evaluate(self, evaluator: Evaluator, asked: Asked) -> Answer:
        """What the policies say; whether it still holds is asked when it is said (`AuthZenQuestion`)."""
        if asked.subject.type != SUBJECT or asked.resource.type != RESOURCE or asked.action.name not in MODES:
            return denial(UNASKED)
        system = await at_hand(self.book.system(asked.subject.id or ""))
        interface = await self._interface(asked.resource.id or "")
        if system is None or interface is None or not system.active:
            return denial(UNASKED)
        return await self.decide(evaluator, asked, system, interface)

    async def decide(self, evaluator: Evaluator, asked: Asked, system: System, interface: Interface) -> Answer:
        """What the policies say of a system and an interface that stand."""
        if not evaluator.may_ask(system.department, interface.dataset):
            return denial(UNASKED)
        mode = MODES[asked.action.name or ""]
        if mode not in interface.modes:
            return denial("mode-not-granted")
        try:
            call = _call(asked, system, interface, mode)
        except GatewayError as error:
            return denial(error.code, detail=error.detail)
        verdict = await at_hand(self.plane.decide(call))
        return _answer(verdict)

    async def _interface(self, key: str) -> Interface | None:
        supplier, slash, id_ = key.partition("/")
        if not slash:
            return None
        try:
            return await at_hand(self.plane.resolve(supplier, id_))
        except GatewayError as error:
            if error.code == "interface-unknown":
                return None
            raise


async def at_hand(answer: T | Awaitable[T]) -> T:
    """What a port answers, now or later."""
    return await answer if isawaitable(answer) else answer


def _call(asked: Asked, system: System, interface: Interface, mode: SharingMode) -> Call:
    """The question for the policies.

    Raises:
        GatewayError: `malformed-request`, `purpose-missing`.
    """
    of_resource, context = asked.resource.properties, asked.context
    purpose = _word(context, "purpose")
    if not purpose:
        raise GatewayError("purpose-missing")
    assurance = asked.subject.properties.get("assurance", Assurance.BEARER.value)
    if assurance not in set(Assurance):
        raise GatewayError("malformed-request", "`assurance` is `legacy`, `bearer`, `dpop` or `mtls`")
    items = of_resource.get("items")
    if items is not None and not _are_words(items):
        raise GatewayError("malformed-request", "`items` is a list of item names")
    parameters = of_resource.get("parameters", {})
    if not isinstance(parameters, dict) or not _are_words([*parameters, *parameters.values()]):
        raise GatewayError("malformed-request", "`parameters` are texts by name")
    named = {
        "scenario": _word(context, "scenario"),
        "operator": _word(context, "operator"),
        "subject": bool(_subjects(of_resource)),
        # One that the entry does not tell of is one more that the call holds.
        "other": not set(parameters) <= set(interface.scope_parameters),
    }
    asked_items = None if items is None else tuple(sorted(set(items)))
    return Call(
        system.id,
        system.department,
        Assurance(assurance),
        interface.key,
        interface.dataset,
        mode,
        purpose,
        asked_items,
        tuple(sorted((name, value) for name, value in parameters.items() if name in interface.scope_parameters)),
        declared=tuple(sorted(name for name, value in named.items() if value)),
        guessable=(asked_items or ()) if mode is SharingMode.VERIFY else (),
        subjects=_subjects(of_resource),
        dates=system.dates,
    )


def _subjects(of_resource: dict[str, Any]) -> int | None:
    """How many persons are asked about: `persons`, or one where `person` says so; None where nothing is said.

    Raises:
        GatewayError: `malformed-request`.
    """
    said, person = of_resource.get("persons"), of_resource.get("person")
    if said is None:
        return int(person) if isinstance(person, bool) else None
    if isinstance(said, bool) or not isinstance(said, int) or not 0 <= said < 1 << 53:
        raise GatewayError("malformed-request", "`persons` is how many persons are asked about")
    if isinstance(person, bool) and person is not bool(said):
        raise GatewayError("malformed-request", "`persons` and `person` say different things")
    return said


def _word(context: dict[str, Any], name: str) -> str:
    value = context.get(name, "")
    if not isinstance(value, str) or len(value) > _WORDS:
        raise GatewayError("malformed-request", f"`context.{name}` is a text of at most {_WORDS} characters")
    return value


def _are_words(values: Any) -> bool:
    return (
        isinstance(values, list)
        and len(values) <= 2 * _WORDS
        and all(isinstance(value, str) and len(value) <= _WORDS for value in values)
    )


def _answer(verdict: Verdict) -> Answer:
    if not verdict.is_permit:
        explanation = verdict.explanation
        more: dict[str, Any] = {"policies": verdict.policies, "policy_digest": verdict.policy_digest}
        if explanation is not None:
            # Nothing of single grants: the caller is told of those, and not who asks about it.
            more["articles"] = explanation.articles
            more["rules"] = [
                {"id": rule.id, "title": {"en": rule.title, "zh": rule.title_zh}} for rule in explanation.rules
            ]
            more["next_step"] = {"en": explanation.next_step, "zh": explanation.next_step_zh}
        return denial(verdict.code, **more)
    obligations: dict[str, Any] = {
        "items": verdict.items,
        "all_items": verdict.all_items,
        "masks": dict(verdict.masks),
        "bounds": {name: list(values) for name, values in verdict.bounds},
        "valid_until": verdict.valid_until_unix,
        "retention_years": verdict.retention_years,
    }
    quotas = ("calls_a_minute", "calls_a_day", "rows_a_day", "guesses_a_day")
    obligations |= {name: getattr(verdict, name) for name in quotas if getattr(verdict, name) is not None}
    return Answer(
        True,
        {
            "obligations": obligations,
            "grant": verdict.grant,
            "policies": verdict.policies,
            "policy_digest": verdict.policy_digest,
        },
    )
