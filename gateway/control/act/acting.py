"""The one path of every act: authorize, transact, record, commit, hold, answer.

    with the state's writer's lock held:
        ask anew who acts: the session stands, the officer as registered now
        read what the act is about; the policies decide; the table of steps decides; write
        append the act's record and wait until it is durable
        remember the answer under its `Idempotency-Key`
    commit
    hold the barrier on what the act withdrew
    answer

So an act without a record cannot stand. The act's transaction notes its record: one that is not noted tells of an act
that did not come to stand, and is voided by a second record: at once, when the state says so where it had not said
(`recorded`), or at the next start (`runtime.reconciling`).
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin

import msgspec
from fastapi import Depends, Header, Request
from fastapi.responses import Response

from gateway.control.act.deeds import (
    Answer,
    Choice,
    Deed,
    china_day,
    decided_first,
    due_in,
    is_permitted,
    matter_between,
    matter_now,
    matter_of_department,
    matter_of_gateway,
    matter_of_grant,
    matter_of_person,
    require_any,
    require_permit,
    shown_to,
)
from gateway.control.act.lanes import in_lane, is_stop
from gateway.control.act.paging import whole
from gateway.control.act.problems import invalid
from gateway.control.act.recorded import recorded
from gateway.control.act.services import ControlServices
from gateway.control.barrier.barrier import BarrierReport
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Officer
from gateway.store import StoreTransaction

__all__ = [
    "Answer",
    "Choice",
    "Deed",
    "IdempotencyKey",
    "Services",
    "SignedIn",
    "answer_once",
    "china_day",
    "decided_first",
    "due_in",
    "is_permitted",
    "matter_between",
    "matter_of_department",
    "matter_of_gateway",
    "matter_of_grant",
    "matter_of_person",
    "perform",
    "replay_of",
    "require_any",
    "require_permit",
    "services_of",
    "shown_to",
    "signed_in",
]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=8,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="the same key and request are acted on once, and answered alike for a day",
    ),
]


async def services_of(request: Request) -> ControlServices:
    """The services of the application that serves `request`; not a plain function, which is called in a thread."""
    return _services(request)


def _services(request: Request) -> ControlServices:
    services: ControlServices = request.app.state.services
    return services


async def signed_in(request: Request) -> Officer:
    """The officer of a request, asked once its whole body is here: what drips in gives no right that has ended.

    Asked before as well, so that nobody's body is waited for. `perform` asks once more, where the act is done.
    """
    sign_in = _services(request).sign_in.officer_of
    officer = await in_lane(request, sign_in, request)
    if not is_stop(request):
        _require_known_parameters(request)
    if request.method in _WITHOUT_BODY:
        return officer
    await request.body()
    if is_stop(request):
        return officer  # `perform` asks again, and a stop goes no way twice
    return await in_lane(request, sign_in, request)


_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})


def _require_known_parameters(request: Request) -> None:
    """A misspelt filter would be answered with more than was asked for, and of one that comes twice the last would do.

    Raises:
        GatewayError: `invalid-input`, as for a field of a body that is not known.
    """
    sent = [name for name, _ in request.query_params.multi_items()]
    if not sent:
        return
    known = dict(_parameters(request.scope["route"].dependant))
    faults: list[dict[str, Any]] = [
        {"field": name, "fault": "is no parameter here"} for name in set(sent) - known.keys()
    ]
    faults += [
        {"field": name, "fault": "comes more than once"}
        for name, may_repeat in known.items()
        if not may_repeat and sent.count(name) > 1
    ]
    if faults:
        raise invalid(faults)


def _parameters(dependant: Any) -> Iterator[tuple[str, bool]]:
    """Each query parameter of a route, and whether it may come more than once."""
    for field in dependant.query_params:
        told = field.field_info.annotation
        yield field.alias, any(get_origin(each) in {list, tuple, set} for each in (told, *get_args(told)))
    for each in dependant.dependencies:
        yield from _parameters(each)


Services = Annotated[ControlServices, Depends(services_of)]
SignedIn = Annotated[Officer, Depends(signed_in)]


Work = Callable[[Deed], Answer]


def perform(
    services: ControlServices,
    request: Request,
    officer: Officer,
    key: str | None,
    body: Any,
    work: Work,
    *,
    prepare: Callable[[], None] = lambda: None,
    everywhere: bool = False,
) -> Response:
    """Do one act; see this module.

    Args:
        services: the rooms.
        request: for its method and path, which an `Idempotency-Key` is bound to with `body`.
        officer: who acts.
        key: the `Idempotency-Key`, if one was sent.
        body: the domain value of the request's body.
        work: reads, decides and writes within the transaction.
        prepare: what `work` needs and takes long, done before the transaction; not done for a replayed answer.
        everywhere: whether to answer only when every worker of every node has heard of it, also where it withdraws
            nothing.

    Raises:
        GatewayError: whatever refuses the act; then nothing was changed.
    """
    digest = _digest(request, body) if key else ""
    if key:
        replayed = _replay(services, key, officer, digest)
        if replayed is not None:
            return replayed
    prepare()
    try:
        with (
            recorded(services.unsettled, services.acts) as written,
            services.store.transaction(urgent=is_stop(request)) as tx,
        ):
            # INVARIANT: ASKED-AT-COMMIT — the session and the officer as this transaction has them, for every act there
            # is; `work` decides by this officer, over what it reads within the same transaction.
            officer = services.sign_in.still(tx, request)
            _require_first(tx, key, officer)
            services.policies.require_current(tx)
            deed = Deed(services, officer, tx, written)
            answer = work(deed)
            assert deed.records, "an act without a record does not stand"
            deed.require_told()
            tx.note_acts(deed.records)
            content = whole({**answer.body, "record": deed.records[0]})
            if key:
                withdraws = everywhere or any(change.withdraws for change in tx.changes)
                kept = msgspec.structs.replace(answer, body=content)
                _remember(tx, key, officer, digest, kept, deed.decided, withdraws=withdraws)
    except _Raced:
        replayed = _replay(services, key or "", officer, digest)
        assert replayed is not None
        return replayed
    if everywhere and tx.changes:
        report = services.barrier.hold_at(tx.changes[-1].sequence)
    else:
        report = services.barrier.hold(tx.changes)
    return _respond(answer.status, {**content, **answer.once}, answer.headers, deed.records[0], report)


def replay_of(
    services: ControlServices, request: Request, officer: Officer, key: str | None, body: Any
) -> Response | None:
    """What the same request was answered under the key before; None where it is to be acted on.

    Raises:
        GatewayError: `idempotency-mismatch` if the key was sent with another request.
    """
    return _replay(services, key, officer, _digest(request, body)) if key else None


def answer_once(
    services: ControlServices,
    request: Request,
    officer: Officer,
    key: str | None,
    body: Any,
    answer: Answer,
    decided: Sequence[Choice],
) -> Response:
    """Answer what is done, or begun, outside the state: `answer`, or another request's that came first with the key.

    For what `perform` cannot do: its record is the ledger process's to write, or is written only later. The answer
    bears no record but what its headers name. Ask `replay_of` before doing it; `decided` is what was permitted.

    Durability: without a key nothing is written; with one, the answer is remembered on return.
    """
    answer = msgspec.structs.replace(answer, body=whole(answer.body))
    if key:
        digest = _digest(request, body)
        try:
            with services.store.transaction() as tx:
                _require_first(tx, key, officer)
                _remember(tx, key, officer, digest, answer, decided, withdraws=False)
        except _Raced:
            replayed = _replay(services, key, officer, digest)
            assert replayed is not None
            return replayed
    return _respond(answer.status, answer.body, answer.headers, "", BarrierReport(0))


class _Raced(Exception):  # noqa: N818 - no error: another request with the same key came first
    """Another request with the same key has just been acted on."""


def _require_first(tx: StoreTransaction, key: str | None, officer: Officer) -> None:
    if key and tx.answer_of(key, officer.id) is not None:
        raise _Raced


def _remember(
    tx: StoreTransaction,
    key: str,
    officer: Officer,
    digest: str,
    answer: Answer,
    decided: Sequence[Choice],
    *,
    withdraws: bool,
) -> None:
    remembered = {"content": answer.body, "headers": answer.headers, "withdraws": withdraws, "decided": decided}
    tx.remember_answer(key, officer.id, digest, answer.status, msgspec.json.encode(remembered))


def _respond(
    status: int, content: dict[str, Any], headers: Mapping[str, str], record: str, report: BarrierReport
) -> Response:
    if report.sequence:
        content = {**content, "barrier": msgspec.to_builtins(report)}
    return Response(
        msgspec.json.encode(content),
        status,
        {**headers, "Sharing-Record": record} if record else dict(headers),
        media_type="application/json",
    )


def _replay(services: ControlServices, key: str, officer: Officer, digest: str) -> Response | None:
    """The answer that was given under the key; it leaves only when the barrier holds for it too."""
    known = services.store.answer_of(key, officer.id)
    if known is None:
        return None
    if known.digest != digest:
        raise GatewayError("idempotency-mismatch", "this key was sent with another request before")
    remembered = msgspec.json.decode(known.body)
    # An answer is given again to who may still do what it tells of: decided as it was, by who one is now.
    decided = msgspec.convert(remembered.get("decided", ()), tuple[Choice, ...])
    if not decided:
        raise GatewayError("conflict", "this was answered by an earlier version of the gateway: look what came of it")
    for act, matter in decided:
        require_permit(services, officer, act, matter_now(services.store, matter))
    report = BarrierReport(0)
    if remembered["withdraws"]:
        report = services.barrier.hold_at(services.store.sequence())
    headers = {**remembered["headers"], "Idempotency-Replayed": "true"}
    return _respond(known.status, remembered["content"], headers, remembered["content"].get("record", ""), report)


def _digest(request: Request, body: Any) -> str:
    """What a key is bound to; `body` bears no identifier of a person, since the digest is kept (NO-VALUES)."""
    query = "&".join(sorted(f"{name}={value}" for name, value in request.query_params.multi_items()))
    head = f"{request.method} {request.url.path}?{query} {request.headers.get('if-match', '')}\n"
    return hashlib.sha256(head.encode() + msgspec.json.encode(body, order="deterministic")).hexdigest()
