"""What a request asks of the policies, and how it is told to the supplier. Pure."""

import random

from gateway.domain.callers import Caller
from gateway.domain.directory import AnswerFormat, SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.uses import Use
from gateway.domain.verdicts import Call, Verdict
from gateway.proxy.digests import keyed_digest
from gateway.proxy.heads import Block
from gateway.proxy.ports import Pseudonym
from gateway.proxy.projection.matching import MAX_BODY_BYTES, Question
from gateway.proxy.routes import Plan, Route
from gateway.proxy.targets import Target, parameters_of

_VERIFYING = frozenset({b"POST"})


def body_limit_bytes(route: Route, mode: SharingMode) -> int:
    """The largest request body: the interface's, in verify mode one person's values."""
    limit = route.interface.body_limit_bytes
    return min(limit, MAX_BODY_BYTES) if mode is SharingMode.VERIFY else limit


def make_call(
    route: Route, caller: Caller, method: bytes, target: Target, block: Block, pseudonym: Pseudonym
) -> tuple[Call, str | None]:
    """The question for the policies, and the data subject's pseudonym where the interface names one.

    Raises:
        GatewayError: `mode-not-granted`, `method-not-allowed`, `body-too-large`, `malformed-request`,
            `purpose-missing`: the request does not fit the interface.
    """
    interface = route.interface
    mode = route.mode(block.mode)
    if method not in (_VERIFYING if mode is SharingMode.VERIFY else route.methods):
        raise GatewayError("method-not-allowed", "the interface does not take this method")
    length = block.content_length
    if length and length > body_limit_bytes(route, mode):
        raise GatewayError("body-too-large", f"the interface takes at most {body_limit_bytes(route, mode)} bytes")
    parameters: tuple[tuple[str, str], ...] = ()
    subject = None
    if route.parameter_names:
        parameters = parameters_of(target.query, route.parameter_names)
        if interface.subject_parameter:
            for name, value in parameters:
                if name == interface.subject_parameter:
                    subject = pseudonym(value.encode("utf-8"))
            parameters = tuple(pair for pair in parameters if pair[0] in interface.scope_parameters)
    purpose = block.purpose or caller.purpose
    if not purpose:
        raise GatewayError("purpose-missing")
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
    )
    return call, subject


def check_question(question: Question, route: Route) -> None:
    """Raise `method-not-allowed` where the interface is not asked in this way."""
    if question.method not in route.methods:
        raise GatewayError("method-not-allowed", "the interface does not take the method this verification needs")


def make_use(
    route: Route,
    caller: Caller,
    call: Call,
    verdict: Verdict,
    block: Block,
    digest: str,
    subject: str | None,
    started_unix_ns: int,
) -> Use:
    """The use as its record will name it."""
    return Use(
        caller,
        call,
        verdict,
        route.interface.supplier,
        block.scenario,
        block.operator,
        block.trace[0] if block.trace else f"{random.getrandbits(128):032x}",
        digest,
        subject,
        started_unix_ns,
    )


def request_digest(key: bytes, method: bytes, target: Target, body: list[bytes]) -> str:
    """Keyed digest (hex) over method, target and the body at hand."""
    digest = keyed_digest(key, b"%b %b?%b\n" % (method, target.path, target.query))
    for piece in body:
        digest.update(piece)
    return digest.hexdigest()


def request_head(
    plan: Plan,
    method: bytes,
    target: Target,
    block: Block,
    use: Use,
    record: str,
    framing: bytes,
    question: Question | None,
) -> bytes:
    """The head of the request to the supplier.

    The caller's credential stops here: `forwarded` was cleaned when the block was read. A `traceparent` child is
    fresh for each call; `Via` is continued (RFC 9110 §7.6.3). In verify mode nothing of the caller's fields goes on.
    """
    path = plan.route.base + target.rest or b"/"
    if target.query:
        path = b"%b?%b" % (path, target.query)
    conditions = b""
    forwarded = block.forwarded
    if question is not None:
        method = question.method
        forwarded = b""
    elif block.conditions and plan.passes_unfiltered and plan.route.interface.format is AnswerFormat.OPAQUE:
        conditions = block.conditions
    trace = (
        f"traceparent: 00-{use.trace_id}-{random.getrandbits(64) or 1:016x}-{block.trace[1] if block.trace else '00'}"
    )
    return b"%b %b HTTP/1.1\r\n%b%b%bVia: %b1.1 sharing-gateway\r\nSharing-Record: %b\r\n%b\r\n%b\r\n" % (
        method,
        path,
        plan.request_fields,
        forwarded,
        conditions,
        block.via + b", " if block.via else b"",
        record.encode(),
        trace.encode(),
        framing,
    )
