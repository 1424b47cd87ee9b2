"""The listener's connections, and what they ask for.

    any   /check       whether a call may be made, and its record (`carried`); for Envoy /check/{the call's path}
    POST  /closing     how a use ended (`closing`)
    POST  /access/v1/… what the policies say, by AuthZEN (`authzen`)
    GET   /.well-known/authzen-configuration

Carriers show their credential in `Sharing-Carrier`, evaluators in `Authorization: Bearer`. Who asks is known before
anything else is looked at; nobody else gets an answer but that. Framing, hygiene, deadlines and bounds are those of
callers' connections.
"""

from typing import TYPE_CHECKING

from gateway.authorizer.askers import known_by
from gateway.authorizer.authzen.questions import CONFIGURATION, ENDPOINTS, AuthZenQuestion
from gateway.authorizer.carried import CarriedUse
from gateway.authorizer.closing import ClosingCall
from gateway.authorizer.described import CHECK
from gateway.domain.errors import GatewayError
from gateway.proxy.downstream import CallerConnection
from gateway.proxy.exchange.exchange import Exchange
from gateway.proxy.http.heads import Block, malformed, parse_request_line, with_own

if TYPE_CHECKING:
    from gateway.authorizer.desk import Desk

CREDENTIAL_FIELD = b"sharing-carrier"


class AskingConnection(CallerConnection):
    """One connection of somebody who asks."""

    __slots__ = ("_desk",)

    def __init__(self, desk: "Desk") -> None:
        super().__init__(desk.plane)
        self._desk = desk

    def _parse_head(self, line: bytes, fields: bytes) -> Exchange:
        parsed = parse_request_line(line)
        method, target, is_old = parsed
        known, own, _, _ = self._desk.blocks.read(fields)
        block = with_own(known, own)
        if is_old and block.content_length is None:
            raise malformed("a request of HTTP/1.0 has a transfer coding")
        self._closes = block.is_last or is_old
        self.takes_chunks = not is_old
        desk = self._desk
        if target in ENDPOINTS or target == CONFIGURATION:
            evaluator = known_by(_bearer(block), desk.authzen.evaluators)
            wanted = b"GET" if target == CONFIGURATION else b"POST"
            if method != wanted:
                allow = (("Allow", wanted.decode()),)
                raise GatewayError("method-not-allowed", "this is asked in another way", headers=allow)
            return AuthZenQuestion(desk, self, evaluator, method, target, block)
        carrier = known_by(_one(block, CREDENTIAL_FIELD), desk.carriers)
        # Caddy leaves its caller's query behind the path; what is asked about stands in the fields alone.
        if target.partition(b"?")[0] == CHECK or (not carrier.method_field and target.startswith(CHECK + b"/")):
            if block.content_length != 0:
                raise malformed("a check has no body: the carrier must not send its caller's")
            return CarriedUse(desk, self, carrier, parsed, block)
        if target == b"/closing":
            if method != b"POST":
                raise GatewayError("method-not-allowed", "a closing is a POST", headers=(("Allow", "POST"),))
            return ClosingCall(desk, self, carrier, method, block)
        raise GatewayError("not-found", "carriers ask for `/check` and `/closing`")


def _bearer(block: Block) -> bytes:
    scheme, _, credential = _one(block, b"authorization").partition(b" ")
    return credential.strip(b" ") if scheme.lower() == b"bearer" else b""


def _one(block: Block, field: bytes) -> bytes:
    shown = [value for name, value in block.fields if name == field]
    if len(shown) > 1:
        raise GatewayError("credential-invalid", "the credential stands twice")
    return shown[0] if shown else b""
