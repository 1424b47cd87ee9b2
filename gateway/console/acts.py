"""What is done to a grant, each act in two steps: its form, then what it will do; and at the end what came of it.

    GET  /console/grants/{id}/{act}                the form
    POST /console/grants/{id}/{act}  step=edit     the form again, as it was typed
                                     step=review   what the act will do; nothing is done yet
                                     step=act      the act

The review bears the `ETag` of what its reader saw and an `Idempotency-Key`: a grant that has changed since is not acted
on, and the difference is shown; a form sent twice acts once.
"""

import asyncio
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from starlette.responses import Response

from gateway.console.api import RefusedError
from gateway.console.desk import Desk, segment, typed_of
from gateway.console.session import NAME_CHARACTERS
from gateway.console.sign_in import require_fresh
from gateway.console.terms import N_
from gateway.domain.calendar import CHINA

SEEN_DAYS = 7
"""How far back the review looks for who calls under a grant."""
MOST_ROADS = 100
MOST_NAMED = 6
"""How many that did not confirm a stop are named."""


class Field(NamedTuple):
    """A field of a form: `kind` is `area`, `text`, `date`, `choice` or `check`."""

    name: str
    label: str
    kind: str = "area"
    hint: str = ""
    required: bool = True
    choices: tuple[tuple[str, str], ...] = ()


class Act(NamedTuple):
    """An act on a grant.

    Args:
        name: of the act in addresses.
        path: where the API takes it.
        steps: rows of the table of a grant's life, of which one has to fit.
        title: on buttons and pages.
        help: one sentence of what it does.
        article: what it rests on.
        fields: what it states.
        always: fields of the body that the form does not ask for.
        stops: whether it ends what is under way.
        weighty: whether its officer has to have signed in a moment ago.
        done: what is told once it is done.
    """

    name: str
    path: str
    steps: tuple[str, ...]
    title: str
    help: str
    article: str
    fields: tuple[Field, ...]
    done: str
    always: Mapping[str, Any] = {}
    stops: bool = False
    weighty: bool = False


_REASON = Field("reason", N_("Reason"))
_DISPOSE_BY = Field(
    "dispose_by",
    N_("Dispose of the data by"),
    "date",
    N_("Left empty: 20 working days from today."),
    required=False,
)

ACTS: Mapping[str, Act] = {
    each.name: each
    for each in (
        Act(
            "suspend",
            "suspension",
            ("suspend",),
            N_("Suspend"),
            N_(
                "Suspends the sharing because the data was used beyond scope or purpose, or given to a third party, "
                "and sets a date for rectification. Nothing more leaves under the grant once it is confirmed."
            ),
            "Decree 809 Art. 27 ¶2",
            (
                Field("violation", N_("Violation found"), hint=N_("What was done, when, and how it came to light.")),
                Field("rectify_by", N_("Rectify by"), "date"),
            ),
            N_("The grant is suspended."),
            stops=True,
        ),
        Act(
            "emergency",
            "suspension",
            ("suspend in an emergency",),
            N_("Suspend in an emergency"),
            N_(
                "Suspends at once because of a security incident. A report to the competent department is then owed, "
                "within 24 hours unless another time is set."
            ),
            "Decree 809 Art. 35",
            (Field("incident", N_("Security incident"), hint=N_("What has happened, and what is in danger.")),),
            N_("The grant is suspended."),
            always={"emergency": True},
            stops=True,
        ),
        Act(
            "lift",
            "suspension/lift",
            ("lift",),
            N_("Lift the suspension"),
            N_("Takes one suspension away, and nothing else: what another order stops stays stopped."),
            "Decree 809 Art. 27 ¶2",
            (
                Field("reason", N_("Reason"), hint=N_("How it was rectified, and who has examined that.")),
                Field("order", N_("Suspension"), "choice"),
            ),
            N_("The suspension is lifted."),
        ),
        Act(
            "terminate",
            "termination",
            ("terminate after a failed rectification", "terminate without a violation"),
            N_("Terminate"),
            N_(
                "Ends the sharing for good. After a refused or insufficient rectification state its finding; without a "
                "violation consult the demand department and file with the competent department first."
            ),
            "Decree 809 Art. 27 ¶2; Decree 809 Art. 27 ¶3",
            (
                _REASON,
                Field(
                    "rectification",
                    N_("Finding on the rectification"),
                    hint=N_("Only after a suspension for a violation."),
                    required=False,
                ),
                Field("refused", N_("Rectification was refused"), "check", required=False),
                Field(
                    "consultation",
                    N_("Record of the consultation with the demand department"),
                    "text",
                    N_("Without a violation."),
                    required=False,
                ),
                Field(
                    "filing",
                    N_("Number of the filing with the competent department"),
                    "text",
                    N_("Without a violation."),
                    required=False,
                ),
                _DISPOSE_BY,
            ),
            N_("The grant is terminated."),
            stops=True,
            weighty=True,
        ),
        Act(
            "close",
            "closure",
            ("close",),
            N_("Close"),
            N_("Ends the grant because its purpose is over; what was obtained must then be disposed of."),
            "Decree 809 Art. 27 ¶1",
            (
                Field(
                    "outcome",
                    N_("The purpose of sharing"),
                    "choice",
                    choices=(
                        ("achieved", N_("has been achieved")),
                        ("impossible", N_("cannot be achieved")),
                        ("unnecessary", N_("does not need the data any longer")),
                    ),
                ),
                _REASON,
                _DISPOSE_BY,
            ),
            N_("The grant is closed."),
            stops=True,
        ),
        Act(
            "dispose",
            "disposal",
            ("dispose",),
            N_("Record the disposal"),
            N_("Records how what was obtained was destroyed, and so fulfils the duty to dispose of it."),
            "Decree 809 Art. 27 ¶1; Decree 809 Art. 29",
            (
                Field("method", N_("Method of destruction"), hint=N_("On which media, and how.")),
                Field("destroyed_on", N_("Destroyed on"), "date"),
                Field("carried_out_by", N_("Carried out by"), "text"),
            ),
            N_("The disposal is on record."),
        ),
        Act(
            "dispute",
            "dispute",
            ("dispute",),
            N_("Open a dispute"),
            N_("Keeps the records of this grant while the two sides disagree; its state stays as it is."),
            "Decree 809 Art. 28",
            (Field("reason", N_("What is disputed")),),
            N_("The dispute is open; records of this grant are kept."),
        ),
        Act(
            "settle",
            "dispute/settlement",
            ("settle",),
            N_("Settle the dispute"),
            N_("Ends the dispute; records go in their time again."),
            "Decree 809 Art. 28",
            (Field("outcome", N_("How it ended")),),
            N_("The dispute is settled."),
        ),
    )
}


def is_for(act: Act, found: Mapping[str, Any]) -> bool:
    """Whether an act makes sense for what stands on a grant."""
    if act.name == "lift":
        return bool(_suspensions(found))
    if act.name in {"dispute", "settle"}:
        return bool(found["grant"]["disputed"]) == (act.name == "settle")
    return True


async def show(desk: Desk) -> Response:
    """The form of an act."""
    act, found, etag = await _read(desk)
    return _form(desk, act, found, etag, typed={})


async def do(desk: Desk) -> Response:
    """The next step of an act, by what the form says."""
    act, found, etag = await _read(desk)
    typed = typed_of(desk.form, tuple(field.name for field in act.fields))
    step = desk.form.get("step", "edit")
    faults = {} if step == "edit" else _faults(desk, act, typed)
    if step == "edit" or faults:
        return _form(desk, act, found, etag, typed=typed, faults=faults, status=422 if faults else 200)
    if step == "review":
        return await _review(desk, act, found, etag, typed)
    if act.weighty:
        faults = await require_fresh(desk)
        if faults:
            return await _review(desk, act, found, etag, typed, faults=faults, status=422)
    return await _act(desk, act, found, typed)


async def _act(desk: Desk, act: Act, found: Mapping[str, Any], typed: Mapping[str, str]) -> Response:
    id_ = found["grant"]["id"]
    headers = {"if-match": desk.form.get("etag", ""), "idempotency-key": desk.form.get("key", "")}
    if len(headers["idempotency-key"]) < 8 or not headers["if-match"]:
        # A form without what it saw is not acted on: whoever sends it looks at the review first.
        answer = await desk.api.get(f"/v1/grants/{id_}")
        return await _review(desk, act, answer.json, answer.etag, typed)
    try:
        done = (await desk.api.post(f"/v1/grants/{id_}/{act.path}", _body(act, typed), headers)).json
    except RefusedError as refusal:
        return await _not_done(desk, act, typed, refusal)
    told = {"done": act.done, "record": done["record"], "barrier": confirmed(done.get("barrier"), stops=act.stops)}
    return desk.go(f"/console/grants/{segment(id_)}", told)


async def _not_done(desk: Desk, act: Act, typed: Mapping[str, str], refusal: RefusedError) -> Response:
    answer = await desk.api.get(f"/v1/grants/{desk.request.path_params['id']}")
    if refusal.code == "precondition-failed":
        before = _seen_before(desk)
        now = _seen(answer.json)
        changed = [(name, before.get(name), now[name]) for name in now if before.get(name) != now[name]]
        return await _review(desk, act, answer.json, answer.etag, typed, changed=changed, status=412)
    faults = {each.get("field") or "": each["fault"] for each in refusal.problem.get("faults", [])}
    if set(faults) & {field.name for field in act.fields} or refusal.status in {409, 422}:
        return _form(
            desk,
            act,
            answer.json,
            answer.etag,
            typed=typed,
            faults=faults,
            problem=refusal.problem,
            status=refusal.status,
        )
    raise refusal


async def _read(desk: Desk) -> tuple[Act, dict[str, Any], str]:
    act = ACTS.get(desk.request.path_params["act"])
    if act is None:
        raise RefusedError({"type": "/problems/not-found", "status": 404})
    answer = await desk.api.get(f"/v1/grants/{desk.request.path_params['id']}")
    return act, answer.json, answer.etag


def _form(
    desk: Desk,
    act: Act,
    found: Mapping[str, Any],
    etag: str,
    *,
    typed: Mapping[str, str],
    faults: Mapping[str, str] | None = None,
    problem: Any = None,
    status: int = 200,
) -> Response:
    orders = [(each["id"], each["reason"]) for each in _suspensions(found)]
    return desk.page(
        "act_form.html",
        status,
        act=act,
        grant=found["grant"],
        etag=etag,
        typed=typed,
        faults=faults or {},
        problem=problem,
        orders=orders,
        today=_today(desk),
    )


async def _review(
    desk: Desk,
    act: Act,
    found: Mapping[str, Any],
    etag: str,
    typed: Mapping[str, str],
    *,
    faults: Mapping[str, str] | None = None,
    changed: list[tuple[str, Any, Any]] | None = None,
    status: int = 200,
) -> Response:
    grant = found["grant"]
    effect = await _effect(desk, found) if act.stops else None
    return desk.page(
        "act_review.html",
        status,
        act=act,
        grant=grant,
        found=found,
        departments=await desk.names("department", grant["department"], found["supplier"]),
        entry=(await desk.names("dataset", grant["dataset"])).get(grant["dataset"], {}),
        etag=etag,
        seen=json.dumps(_seen(found), ensure_ascii=False),
        key=secrets.token_urlsafe(24),
        typed=typed,
        effect=effect,
        faults=faults or {},
        changed=changed,
        asks_again=act.weighty and not desk.session.is_fresh(desk.now),
    )


async def _effect(desk: Desk, found: Mapping[str, Any]) -> dict[str, Any]:
    """What a stop ends: systems, other grants that it stands over too, rules that need none, and the last days' calls.

    What the officer may not read is left out, and the page says that it is not known. Looking at calls is on record.
    """
    grant = found["grant"]
    department, dataset = grant["department"], grant["dataset"]
    since = (datetime.fromtimestamp(desk.now, UTC) - timedelta(days=SEEN_DAYS)).replace(microsecond=0).isoformat()
    uses = {"grant": grant["id"], "kind": "use", "from": since}
    asked = {
        "systems": desk.api.get("/v1/systems", department=department, limit=MOST_ROADS),
        "roads": desk.api.get(
            "/v1/grants", department=department, dataset=dataset, supplier=found["supplier"], limit=MOST_ROADS
        ),
        "calls": desk.api.get("/v1/records/stats", by="system", supplier=found["supplier"], **uses),
        "open": desk.api.get("/v1/records", supplier=found["supplier"], limit=MOST_ROADS, **uses),
        "reached": desk.api.get("/v1/orders/reach", reach="grant", target=grant["id"]),
    }
    parts = {"reached": "without_grant"}
    gathered = await asyncio.gather(*(_items(each, parts.get(name, "items")) for name, each in asked.items()))
    answers = dict(zip(asked, gathered, strict=True))
    # A supplier's officer may not list another department's systems; who has called is on record all the same.
    names = {each["id"]: each["name"] for each in answers["systems"] or ()}
    calls = None if answers["calls"] is None else {each["key"]: each["uses"] for each in answers["calls"]}
    systems = set(grant["systems"] or names) | set(calls or ())
    return {
        "systems": [(id_, names.get(id_, ""), (calls or {}).get(id_, 0)) for id_ in sorted(systems)],
        "knows_calls": calls is not None,
        "is_for_all": not grant["systems"],
        "days": SEEN_DAYS,
        "open": None
        if answers["open"] is None
        else sum(1 for each in answers["open"] if each["kind"] == "use" and each["ending"] is None),
        "roads": [
            each
            for each in answers["roads"] or ()
            if each["id"] != grant["id"] and each["state"] in {"issued", "suspended"}
        ],
        "rules": answers["reached"] or (),
    }


async def _items(asked: Any, part: str) -> list[dict[str, Any]] | None:
    try:
        found: list[dict[str, Any]] = (await asked).json[part]
    except RefusedError:
        return None
    return found


def confirmed(barrier: Mapping[str, Any] | None, *, stops: bool) -> dict[str, Any] | None:
    """How a stop was confirmed, as far as a page tells it; None where nothing had to be."""
    if barrier is None or not stops:
        return None
    # A cookie carries this to the next page, and holds little: the names of a few, and how many there are in all.
    confirmed, out = barrier["confirmed"], barrier["out"]
    return {
        "confirmed": len(confirmed),
        "of": len(confirmed) + len(out),
        "milliseconds": barrier["milliseconds"],
        "out": [each[:NAME_CHARACTERS] for each in out[:MOST_NAMED]],
        "silent": [
            {"node": each["node"][:NAME_CHARACTERS], "from": each["silent_from"]}
            for each in barrier["silent"][:MOST_NAMED]
        ],
    }


def _body(act: Act, typed: Mapping[str, str]) -> dict[str, Any]:
    body: dict[str, Any] = dict(act.always)
    for field in act.fields:
        if field.kind == "check":
            body[field.name] = field.name in typed
        elif field.name in typed:
            body[field.name] = typed[field.name]
    return body


def _faults(desk: Desk, act: Act, typed: Mapping[str, str]) -> dict[str, str]:
    """What is missing or no day, before anything is sent; all else the API says."""
    faults = {field.name: "is missing" for field in act.fields if field.required and field.name not in typed}
    for field in act.fields:
        if field.kind == "date" and field.name in typed:
            try:
                day = date.fromisoformat(typed[field.name])
            except ValueError:
                faults[field.name] = "is no day: write it as 2026-06-30"
                continue
            if field.name != "destroyed_on" and day < _today(desk):
                faults[field.name] = "has passed"
    return faults


def _today(desk: Desk) -> date:
    return datetime.fromtimestamp(desk.now, CHINA).date()


def _suspensions(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [each for each in found["orders"] if each["lifted_at"] is None and each["kind"] != "termination"]


def _seen(found: Mapping[str, Any]) -> dict[str, Any]:
    """What of a grant a stale page tells the difference in."""
    grant = found["grant"]
    return {name: grant[name] for name in ("state", "version", "items", "purposes", "valid_until", "disputed")}


def _seen_before(desk: Desk) -> dict[str, Any]:
    try:
        seen = json.loads(desk.form.get("seen", ""))
    except ValueError:
        return {}
    return seen if isinstance(seen, dict) else {}
