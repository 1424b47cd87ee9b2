"""A small real house of identity: key ring on disk, issuer, verifier, token endpoint, identifier, one system."""

import asyncio
import atexit
import base64
import functools
import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from fastapi import FastAPI

from gateway.client.keys import ClientKey
from gateway.control.sign_in.oauth import TOKEN_PATH, OAuthServices, oauth_router
from gateway.domain.callers import Caller
from gateway.domain.directory import System
from gateway.domain.officers import Officer, Role, Session
from gateway.identity.callers.assertions import AssertionVerifier
from gateway.identity.callers.caller import Identifier
from gateway.identity.callers.certificates import certificate_thumbprint
from gateway.identity.callers.dpop import ProofVerifier
from gateway.identity.callers.nonces import Nonces, NonceSecret
from gateway.identity.callers.replay import SharedReplay
from gateway.identity.callers.security_log import FailureBudget, SecurityLog
from gateway.identity.keys.keyring import KeyRing
from gateway.identity.tokens.issuing import TokenIssuer
from gateway.identity.tokens.verify import OwnIssuer, TokenVerifier
from gateway.proxy.ports import Peer, RequestHead

ISSUER = "https://control.test"
AUDIENCE = "https://gateway.test"
OFFICER = Officer("zhang-wei", "public-security", "442000", (Role.SUPPLIER,), "Zhang Wei")


class Clock:
    """A clock that tests set."""

    def __init__(self, at: float | None = None) -> None:
        self.at = time.time() if at is None else at

    def __call__(self) -> float:
        return self.at


class Once:
    """`use_once` in memory."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str]] = set()

    def __call__(self, namespace: str, value: str, expires_unix: int) -> bool:
        if (namespace, value) in self.seen:
            return False
        self.seen.add((namespace, value))
        return True


@functools.cache
def key_folder() -> Path:
    """A ring made once: making one syncs a dozen files, and hundreds of houses are built."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    KeyRing.create(folder / "keys")
    return folder / "keys"


class House:
    """The parts, wired as the control process and a worker wire them."""

    def __init__(
        self, folder: Path, *, nonces: bool = False, issuer: str = ISSUER, audience: str = AUDIENCE, **options: Any
    ) -> None:
        self.now = Clock()
        shutil.copytree(key_folder(), folder / "keys")
        self.ring = KeyRing.open(folder / "keys", now=self.now)
        self.audience = audience
        self.issuer = TokenIssuer(self.ring, issuer, audience, self.now)
        self.verifier = TokenVerifier(OwnIssuer(issuer, audience, self.ring), self.now, **options)
        self.key = ClientKey(ec.generate_private_key(ec.SECP256R1()))
        self.other_key = ClientKey(ed25519.Ed25519PrivateKey.generate())
        self.systems = {
            "marriage": System("marriage", "civil-affairs", "Marriage register", (self.key.registration(),)),
            "tax": System("tax", "tax-bureau", "Tax", (self.other_key.registration(),)),
        }
        self.lookups = 0
        self.sent: list[str] = []
        self.once = Once()
        self.nonces = Nonces([NonceSecret(1, b"secret", 0)], self.now) if nonces else None
        self.proofs = ProofVerifier(self.now, self.nonces)
        self.security = SecurityLog(self.now)
        self.replay = SharedReplay(folder / "replay", self.now)
        self.assertions = AssertionVerifier(issuer, issuer + TOKEN_PATH, self.system, self.once, self.now)
        self.identify = self.new_identifier()
        self.officers = {OFFICER.id: OFFICER}
        self.sessions: dict[str, Session] = {}

    def officer(self, id_: str) -> Officer | None:
        return self.officers.get(id_)

    def session(self, id_: str) -> Session | None:
        return self.sessions.get(id_)

    def open_session(self, officer: str, method: str, seconds: int) -> Session:
        at = int(self.now())
        made = Session(f"{len(self.sessions):032x}", officer, method, at, at + seconds)
        self.sessions[made.id] = made
        return made

    def officer_token(self) -> str:
        """A token of a new session of the officer."""
        return self.issuer.issue_officer(OFFICER, session=self.open_session(OFFICER.id, "password", 1800).id)

    def new_identifier(self, **options: Any) -> Identifier:
        chosen = {"origins": (self.audience,), "use_once": self.replay.use_once, "security": self.security, **options}
        return Identifier(self.verifier, self.system, self.now, proofs=self.proofs, **chosen)

    def system(self, identity: str) -> System | None:
        self.lookups += 1
        return self.systems.get(identity)

    def revoke(self, identity: str) -> None:
        self.systems[identity] = msgspec.structs.replace(self.systems[identity], active=False)

    def register_certificate(self, der: bytes) -> None:
        changed = msgspec.structs.replace(self.systems["marriage"], certificates=(certificate_thumbprint(der),))
        self.systems["marriage"] = changed

    def app(self, **options: Any) -> FastAPI:
        app = FastAPI()
        budget = options.pop("budget", FailureBudget(self.now))
        app.include_router(
            oauth_router(
                OAuthServices(
                    issuer=self.issuer,
                    assertions=self.assertions,
                    proofs=self.proofs,
                    system=self.system,
                    use_once=self.once,
                    jwks=self.ring.jwks,
                    security=self.security,
                    budget=budget,
                    **options,
                )
            )
        )
        return app

    def token(self, system: str = "marriage", **options: Any) -> str:
        return self.issuer.issue(self.systems[system], **options)[0]

    def call(self, *fields: tuple[str, str], **options: Any) -> Caller:
        """Identify one request on a loop of its own."""
        self.sent.extend(value for _, value in fields)

        async def run() -> Caller:
            found = self.identify(head(*fields, **options.get("head", {})), options.get("peer", PEER))
            return found if isinstance(found, Caller) else await found

        return asyncio.run(run())

    def bearer(self, token: str | bytes, **options: Any) -> Caller:
        text = token if isinstance(token, str) else token.decode("latin-1")
        return self.call(("authorization", f"Bearer {text}"), **options)

    def proof(self, token: str | None, *, key: ClientKey | None = None, **changes: Any) -> str:
        nonce = self.nonces.current() if self.nonces else None
        return (key or self.key).proof(
            changes.get("method", "GET"),
            changes.get("uri", f"{AUDIENCE}/public-security/household"),
            changes.get("at", int(self.now())),
            nonce=changes.get("nonce", nonce),
            token=token,
        )


PEER = Peer("192.0.2.7", is_tls=True)


def head(*fields: tuple[str, str], **changes: Any) -> RequestHead:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in fields]
    return RequestHead(
        changes.get("method", b"GET"),
        changes.get("path", b"/public-security/household"),
        changes.get("query", b""),
        encoded,
        changes.get("host", b"gateway.test"),
    )


def part(value: Mapping[str, Any] | bytes) -> str:
    """A token's part: JSON, or bytes as they are."""
    data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unpart(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def resigned(house: House, *, header: Any = None, payload: Any = None, token: str | None = None) -> str:
    """A token by the gateway's own key with another header or payload: what only the gateway itself could make."""
    parts = (token or house.token()).split(".")
    if isinstance(header, dict):
        header = {**json.loads(unpart(parts[0])), **header}
    if isinstance(payload, dict):
        payload = {**json.loads(unpart(parts[1])), **payload}
        payload = {name: value for name, value in payload.items() if value is not None}
    message = f"{parts[0] if header is None else part(header)}.{parts[1] if payload is None else part(payload)}"
    return f"{message}.{part(house.ring.token_signer().sign(message.encode()))}"
