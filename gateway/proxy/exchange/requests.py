"""What a request asks of the policies, and how it is told to the supplier. Pure."""

from collections.abc import Sequence
from hashlib import blake2b
from random import getrandbits, random

import msgspec

from gateway.domain.callers import Caller
from gateway.domain.directory import SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.texts import Said
from gateway.domain.uses import Use
from gateway.domain.verdicts import Call, Decision, Explanation, Verdict
from gateway.proxy.exchange.asked import Asked
from gateway.proxy.exchange.constrained import Parameters, constrained_of, joined
from gateway.proxy.exchange.routes import Plan, Route
from gateway.proxy.http.heads import Block, Trace, malformed
from gateway.proxy.http.targets import Target, parameters_of
from gateway.proxy.ports import Pseudonym
from gateway.proxy.projection.matching import MAX_BODY_BYTES, Question

BOUND_ELSEWHERE = Verdict(
    Decision.DENY,
    "purpose-not-granted",
    (),
    "",
    0,
    explanation=Explanation(
        articles=("Decree 809 Art. 25 ¶1",),
        next_step="the credential is bound to another purpose: declare that, or call with a credential for this one",
        next_step_zh="该凭证绑定了其他使用目的；请声明其绑定的目的，或改用适用于本目的的凭证",
    ),
)
"""The denial of a call whose credential is bound to another purpose; no policy is asked."""

_VERIFYING = frozenset({b"POST"})


def body_limit_bytes(route: Route, mode: SharingMode) -> int:
    """The largest request body: the interface's, in verify mode one person's values."""
    limit = route.interface.body_limit_bytes
    return min(limit, MAX_BODY_BYTES) if route.is_asked_by_values(mode) else limit


def _methods(route: Route, mode: SharingMode) -> frozenset[bytes]:
    return _VERIFYING if route.is_asked_by_values(mode) else route.methods(mode)


def make_call(
    route: Route, caller: Caller, method: bytes, target: Target, block: Block, pseudonym: Pseudonym
) -> tuple[Call, tuple[str, ...]]:
    """The question for the policies, and the pseudonym of the data subject that stands in the query, if one does.

    Raises:
        GatewayError: `mode-not-granted`, `method-not-allowed`, `body-too-large`, `malformed-request`,
            `purpose-missing`: the request does not fit the interface.
    """
    interface = route.interface
    mode = route.mode(block.mode)
    if method not in _methods(route, mode):
        listed = frozenset().union(*(_methods(route, each) for each in interface.modes))
        allow = ", ".join(sorted(each.decode() for each in listed))
        detail = "the interface does not take this method"
        raise GatewayError("method-not-allowed", detail, headers=(("Allow", allow),))
    length = block.content_length
    if length and length > body_limit_bytes(route, mode):
        raise GatewayError("body-too-large", f"the interface takes at most {body_limit_bytes(route, mode)} bytes")
    query, subjects = parameters_for(route, target, pseudonym)
    parameters, unread = constrained_of(route, block, query, target.rest)
    purpose = block.purpose or caller.purpose
    if not purpose:
        raise GatewayError("purpose-missing")
    declared = _declared(route, caller, target, block, mode, subjects, unread)
    call = Call(
        caller.system,
        caller.department,
        caller.assurance,
        route.key,
        interface.dataset,
        mode,
        purpose,
        block.items,
        parameters,
        unread,
        declared,
        # What the entry does not tell of may name more.
        subjects=None if "other" in declared else len(subjects),
        dates=caller.dates,
    )
    return call, subjects


def _declared(
    route: Route,
    caller: Caller,
    target: Target,
    block: Block,
    mode: SharingMode,
    subjects: tuple[str, ...],
    unread: tuple[str, ...],
) -> tuple[str, ...]:
    """What the request names besides, sorted, for rules about uses without a grant, and about who operates."""
    named = {
        "scenario": block.scenario,
        "operator": block.operator,
        "subject": subjects,
        "keeper": caller.is_keeper(block.operator),
    }
    found = [name for name, value in named.items() if value]
    told = [part.partition(b"=")[0].decode("latin-1") for part in target.query.split(b"&") if part]
    is_other = any(name not in route.parameter_names for name in told) or "path" in unread
    if not route.scope_names:
        is_other = is_other or target.rest not in {b"", b"/"}
    # The body of a verification is the question, which is looked into by itself.
    if is_other or (block.content_length != 0 and not route.is_asked_by_values(mode)):
        found.append("other")
    return tuple(sorted(found))


def parameters_for(
    route: Route, target: Target, pseudonym: Pseudonym
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """The query parameters that policies look at, and the pseudonym of the data subject that stands there, if one does.

    Raises:
        GatewayError: `malformed-request`.
    """
    if not route.parameter_names:
        return (), ()
    interface = route.interface
    parameters = parameters_of(target.query, route.parameter_names)
    subjects: tuple[str, ...] = ()
    if interface.subject_parameter:
        for name, value in parameters:
            if name == interface.subject_parameter:
                subjects = (pseudonym(value.encode("utf-8")),)
        parameters = tuple(pair for pair in parameters if pair[0] in interface.scope_parameters)
    return parameters, subjects


def with_body(call: Call, found: Parameters | None) -> Call:
    """The call with the constrained parameters that stand in its body; None is a body that could not be read.

    Raises:
        GatewayError: `malformed-request`.
    """
    if found is None:
        return call
    unread = tuple(place for place in call.unread if place != "body")
    return msgspec.structs.replace(call, parameters=joined(call.parameters, found), unread=unread)


def with_asked(call: Call, caller: Caller, asked: Asked, block: Block, subjects: tuple[str, ...]) -> Call:
    """The call with what its request says of itself at the entry's places.

    Args:
        call: as it is without.
        caller: who calls.
        asked: what the request says.
        block: its header block.
        subjects: pseudonyms of all that it asks about.

    Raises:
        GatewayError: `malformed-request` where the gateway's own fields say something else.
    """
    for field, told, said in (
        ("sharing-operator", asked.operator, block.operator),
        ("sharing-scenario", asked.scenario, block.scenario),
        ("sharing-items", asked.items, block.items),
    ):
        # INVARIANT: ONE-MEANING.
        if told and said and told != said:
            raise malformed(f"the field `{field}` and the place that the interface's entry names differ")
    declared = set(call.declared)
    for name, said in (("operator", asked.operator), ("scenario", asked.scenario), ("subject", subjects)):
        if said:
            declared.add(name)
    if caller.is_keeper(asked.operator):
        declared.add("keeper")
    unread = tuple(place for place in call.unread if place != "body" or not asked.is_read)
    return msgspec.structs.replace(
        call,
        items=block.items if asked.items is None else asked.items,
        parameters=joined(call.parameters, asked.parameters),
        unread=unread,
        declared=tuple(sorted(declared)),
        unit=asked.unit,
        subjects=len(subjects) if asked.tells_subjects or call.subjects is not None else None,
    )


def check_question(question: Question, route: Route) -> None:
    """Raise `method-not-allowed` where the interface is not asked in this way."""
    if question.method not in route.methods(SharingMode.VERIFY):
        detail = "the interface does not take the method this verification needs"
        raise GatewayError("method-not-allowed", detail, headers=(("Allow", "POST"),))


def make_use(
    route: Route,
    caller: Caller,
    call: Call,
    verdict: Verdict,
    said: Said,
    trace: Trace | None,
    digest: str,
    subjects: tuple[str, ...],
    started_unix_ns: int,
    *,
    sample_ratio: float = 0.0,
) -> Use:
    """The use as its record will name it; a caller's trace goes on, else `sample_ratio` of the new ones are sampled.

    The supplier's span is fresh for each call (W3C Trace Context).
    """
    if trace is None:
        flags = "01" if sample_ratio and random() < sample_ratio else "00"  # noqa: S311 -- no secret
        trace = (f"{getrandbits(128) or 1:032x}", "", flags)
    return Use(
        caller,
        call,
        verdict,
        route.interface.supplier,
        said.scenario,
        said.operator,
        trace[0],
        digest,
        subjects[0] if subjects else None,
        started_unix_ns,
        f"{getrandbits(64) or 1:016x}",
        trace[1],
        trace[2],
        subjects[1:],
        said.purpose,
    )


def request_digest(keyed: blake2b, method: bytes, target: Target, body: Sequence[bytes]) -> str:
    """Keyed digest (hex) over method, target and the body at hand; `keyed` is under the key and has taken nothing."""
    digest = keyed.copy()
    digest.update(b"%b %b?%b\n" % (method, target.path, target.query))
    for piece in body:
        digest.update(piece)
    return digest.hexdigest()


def request_head(
    plan: Plan,
    method: bytes,
    target: Target,
    fields: bytes,
    use: Use,
    record: str,
    framing: bytes,
) -> bytes:
    """The head of the request to the supplier.

    Args:
        plan: the permit on the wire.
        method: the caller's, or in verify mode the question's.
        target: the caller's.
        fields: `Plan.fields_for` the block; empty in verify mode, where nothing of the caller's fields goes on.
        use: the use.
        record: its record's id.
        framing: the fields that frame the body.
    """
    path = plan.route.base + target.rest or b"/"
    if target.query:
        path = b"%b?%b" % (path, target.query)
    child = f"{record}\r\ntraceparent: 00-{use.trace_id}-{use.span_id}-{use.trace_flags}\r\n"
    return b"%b %b HTTP/1.1\r\n%b%b%b\r\n" % (method, path, fields or plan.own_fields, child.encode(), framing)
