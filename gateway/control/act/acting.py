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
that did not come to stand, and is voided by a second record, at once or at the next start (`runtime.reconciling`).
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Header, Request
from fastapi.responses import Response

from gateway.control.act.lanes import in_lane, is_stop
from gateway.control.act.paging import whole
from gateway.control.act.services import ControlServices
from gateway.control.barrier.barrier import BarrierReport
from gateway.domain.calendar import CHINA, Due, working_days_after
from gateway.domain.directory import Department
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant
from gateway.domain.officers import Act, Matter, Officer
from gateway.domain.uses import RecordKind
from gateway.domain.verdicts import Verdict
from gateway.store import Store, StoreTransaction

log = logging.getLogger(__name__)

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
    if request.method in _WITHOUT_BODY:
        return officer
    await request.body()
    if is_stop(request):
        return officer  # `perform` asks again, and a stop goes no way twice
    return await in_lane(request, sign_in, request)


_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})


Services = Annotated[ControlServices, Depends(services_of)]
SignedIn = Annotated[Officer, Depends(signed_in)]


class Answer(msgspec.Struct):
    """What an act's work gives back.

    Args:
        body: a JSON object; the act's record id and the barrier's report are added.
        status: of the response.
        headers: of the response.
        once: members of the response that are said this once, and never remembered or repeated: secrets.
    """

    body: dict[str, Any]
    status: int = 200
    headers: dict[str, str] = {}
    once: dict[str, Any] = {}


class Deed:
    """One act while it is done: whose it is, what was decided, and its transaction."""

    def __init__(self, services: ControlServices, officer: Officer, tx: StoreTransaction) -> None:
        self.services = services
        self.officer = officer
        self.tx = tx
        self.now = datetime.fromtimestamp(services.now(), UTC)
        self.records: tuple[str, ...] = ()
        self._everything = False
        self._told_changes = 0
        self._decided: dict[Act, Verdict] = {}

    @property
    def today(self) -> date:
        """The calendar day, China Standard Time: what clocks in days count from."""
        return china_day(self.now)

    def permit(self, act: Act, matter: Matter) -> None:
        """Raises `act-not-permitted` unless the policies permit the act."""
        self._decided[act] = require_permit(self.services, self.officer, act, matter)

    def permit_either(self, act: Act, or_act: Act | None, matter: Matter) -> None:
        """As `permit`; where the policies deny `act`, `or_act` does as well, if one is given."""
        if or_act is not None and not is_permitted(self.services, self.officer, act, matter):
            act = or_act
        self.permit(act, matter)

    def record(self, kind: RecordKind, **fields: Any) -> str:
        """Write the act's record and return its id: who acted, what was decided by which policies, and `fields`.

        Durability: it is synced on return. Call it once, last of what can refuse the act.
        """
        self.records = (self.services.acts.append(kind, self._told(fields, self._withdrawn())),)
        return self.records[0]

    def record_each(self, kind: RecordKind, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
        """As `record`, one for each of many things done at once; all are synced together.

        So what concerns one grant is found, and held, by that grant alone, also where many were issued at once.
        """
        withdrawn = self._withdrawn()
        own: dict[str, list[dict[str, str]]] = {}
        for each in withdrawn:
            own.setdefault(each.get("grant", ""), []).append(each)
        first = own.pop("", [])
        told = []
        for fields in rows:
            told.append(self._told(fields, own.get(str(fields.get("grant")), []) + first))
            first = []
        self.records = self.services.acts.append_all(kind, told)
        return self.records

    def will_withdraw(self) -> None:
        """Say that this act takes away, as far as anyone may hold, by a change that follows on its record."""
        self._everything = True

    def require_told(self) -> None:
        """What the act withdraws stands in its record: a state restored from before it can be held to that."""
        later = self.tx.changes[self._told_changes :]
        assert self._everything or not any(change.withdraws for change in later), "told before it was withdrawn"

    def _withdrawn(self) -> list[dict[str, str]]:
        """The scopes of what was withdrawn so far; one without any name for everything, or for what is too much."""
        self._told_changes = len(self.tx.changes)
        scopes = [
            {name: str(value) for name in _SCOPES if (value := getattr(change, name)) is not None}
            for change in self.tx.changes
            if change.withdraws
        ]
        if self._everything or len(scopes) > MAX_SCOPES:
            return [{"kind": "everything"}]
        return [each for at, each in enumerate(scopes) if each not in scopes[:at]]

    def _told(self, fields: Mapping[str, Any], withdrawn: list[dict[str, str]]) -> dict[str, Any]:
        assert not self.records, "an act is recorded once"
        assert self._decided, "an act is decided before it is recorded"
        return {
            **{name: value for name, value in fields.items() if value not in ("", ())},
            "act": ", ".join(act.value for act in self._decided),
            "officer": self.officer.id,
            "officer_department": self.officer.department,
            "policies": sorted({name for verdict in self._decided.values() for name in verdict.policies}),
            "policy_digest": self.services.engine.layers.digest,
            # What a state that was restored from before the act is compared by.
            "position": self.tx.began_at,
            **({"withdraws": withdrawn} if withdrawn else {}),
        }


_SCOPES = ("kind", "subject", "department", "dataset", "system", "supplier", "grant")
MAX_SCOPES = 64
"""Scopes that one record names; what withdraws more is told as withdrawing everything."""

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
    deed: Deed | None = None
    try:
        with services.store.transaction(urgent=is_stop(request)) as tx:
            # INVARIANT: ASKED-AT-COMMIT — the session and the officer as this transaction has them, for every act there
            # is; `work` decides by this officer, over what it reads within the same transaction.
            officer = services.sign_in.still(tx, request)
            _require_first(tx, key, officer)
            services.policies.require_current(tx)
            deed = Deed(services, officer, tx)
            answer = work(deed)
            assert deed.records, "an act without a record does not stand"
            deed.require_told()
            tx.note_acts(deed.records)
            content = whole({**answer.body, "record": deed.records[0]})
            if key:
                withdraws = everywhere or any(change.withdraws for change in tx.changes)
                _remember(tx, key, officer, digest, msgspec.structs.replace(answer, body=content), withdraws=withdraws)
    except _Raced:
        replayed = _replay(services, key or "", officer, digest)
        assert replayed is not None
        return replayed
    except BaseException:
        if deed is not None and deed.records:
            _void(services, deed.records, officer)
        raise
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
    services: ControlServices, request: Request, officer: Officer, key: str | None, body: Any, answer: Answer
) -> Response:
    """Answer what is done, or begun, outside the state: `answer`, or another request's that came first with the key.

    For what `perform` cannot do: its record is the ledger process's to write, or is written only later. The answer
    bears no record but what its headers name. Ask `replay_of` before doing it.

    Durability: without a key nothing is written; with one, the answer is remembered on return.
    """
    answer = msgspec.structs.replace(answer, body=whole(answer.body))
    if key:
        digest = _digest(request, body)
        try:
            with services.store.transaction() as tx:
                _require_first(tx, key, officer)
                _remember(tx, key, officer, digest, answer, withdraws=False)
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
    tx: StoreTransaction, key: str, officer: Officer, digest: str, answer: Answer, *, withdraws: bool
) -> None:
    remembered = {"content": answer.body, "headers": answer.headers, "withdraws": withdraws}
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


def _void(services: ControlServices, records: Sequence[str], officer: Officer) -> None:
    """Say that what records tell did not come to stand."""
    said = {"act": "void", "officer": officer.id, "reason": "not committed"}
    try:
        services.acts.append_all(RecordKind.CONSULTATION, [{**said, "voids": record} for record in records])
    except GatewayError:
        log.error("record `%s` tells of an act that was not committed, and could not be voided", records[0])


def require_permit(services: ControlServices, officer: Officer, act: Act, matter: Matter) -> Verdict:
    """The policies' permit.

    Raises:
        GatewayError: `act-not-permitted`.
    """
    home = services.store.department(officer.department)
    verdict = services.engine.authorize(officer, act, matter, int(services.now()), home)
    if not verdict.is_permit:
        log.info("officer `%s` was refused `%s`", officer.id, act.value)
        articles = verdict.explanation.articles if verdict.explanation else ()
        raise GatewayError(
            "act-not-permitted",
            f"officer `{officer.id}` may not `{act.value}` here",
            act=act.value,
            policies=list(verdict.policies),
            articles=list(articles),
        )
    return verdict


def require_any(services: ControlServices, officer: Officer, acts: Sequence[Act], matter: Matter) -> None:
    """Raises `act-not-permitted` unless the policies permit one of the acts: asked before work that costs much."""
    for act in acts[:-1]:
        if is_permitted(services, officer, act, matter):
            return
    require_permit(services, officer, acts[-1], matter)


def is_permitted(services: ControlServices, officer: Officer, act: Act, matter: Matter) -> bool:
    """Whether the policies permit the act: for narrowing what is shown."""
    home = services.store.department(officer.department)
    return services.engine.authorize(officer, act, matter, int(services.now()), home).is_permit


def matter_between(
    store: Store | StoreTransaction, supplier: str | None, demand: str | None, dataset: str | None = None
) -> Matter:
    """What an act between two departments is about, with their regions."""
    supplying = store.department(supplier) if supplier else None
    demanding = store.department(demand) if demand else None
    return Matter(
        supplier=supplier,
        demand=demand,
        region=_region(supplying),
        demand_region=_region(demanding),
        dataset=dataset,
    )


def _region(department: Department | None) -> str | None:
    return department.region if department is not None else None


def matter_of_department(department: Department) -> Matter:
    """What an act on a department's own things (its systems, its officers) is about."""
    return Matter(demand=department.id, region=department.region, demand_region=department.region)


def matter_of_person(officer: Officer) -> Matter:
    """What an act on an officer's account is about."""
    return Matter(
        demand=officer.department,
        region=officer.region,
        demand_region=officer.region,
        person=officer.id,
        roles=officer.roles,
    )


def matter_of_grant(store: Store | StoreTransaction, grant: Grant) -> Matter:
    """What an act on a grant is about."""
    return matter_between(store, store.entry_owner(grant.dataset), grant.department, grant.dataset)


def china_day(moment: datetime) -> date:
    """The calendar day, China Standard Time."""
    return moment.astimezone(CHINA).date()


def due_in(today: date, days: int) -> Due:
    """The last of `days` working days from today."""
    return working_days_after(today, days)
