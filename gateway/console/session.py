"""What a browser holds between requests: one sealed cookie, host-only, `SameSite=Strict`, out of scripts' reach.

It is sealed anew with every page, under the key that seals secrets in the state, so that any node opens it; whoever
reads one off a disk cannot read the token in it. It ends with the session that it names, when nobody has used it for
`IDLE_SECONDS`, and by signing out, which ends the session itself.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from hmac import compare_digest
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gateway.domain.errors import GatewayError

IDLE_SECONDS = 900
"""Ours: a desk that was left is closed after a quarter of an hour (GB/T 22239 asks for an end without naming one)."""

FRESH_SECONDS = 300
"""For how long after a sign-in an act of weight asks for no other one."""

NAME_CHARACTERS = 40
"""How much of a name the cookie holds: a browser keeps no cookie above 4,096 octets, and nobody could sign in."""

_CONTEXT = "console/session"


@dataclass(frozen=True, slots=True)
class Session:
    """What stands in the cookie.

    Args:
        token: the officer's session token; "" before the sign-in.
        officer: who.
        name: for people.
        department: the officer's department.
        roles: the officer's roles.
        method: how the session was begun: `password` or by the `provider`.
        begun: when this browser last signed in, Unix seconds.
        ends: when the token ends, Unix seconds.
        seen: when the last page was asked for, Unix seconds.
        form: what every form of this session bears.
        told: what the next page is to tell, by its path.
    """

    token: str = ""
    officer: str = ""
    name: str = ""
    department: str = ""
    roles: tuple[str, ...] = ()
    method: str = ""
    begun: int = 0
    ends: int = 0
    seen: int = 0
    form: str = ""
    told: Mapping[str, Any] = field(default_factory=dict)

    def is_fresh(self, now: float) -> bool:
        """Whether the officer has signed in a moment ago."""
        return bool(self.token) and now - self.begun < FRESH_SECONDS

    def bears(self, form: str) -> bool:
        """Whether a form is one of this session's."""
        return bool(self.form) and compare_digest(self.form.encode(), form.encode())


class SessionKeeper:
    """Reads and writes the cookie.

    Args:
        seal: seals octets, bound to a context.
        unseal: opens them; raises `GatewayError`.
        now: Unix seconds.
        is_secure: whether browsers come over https.
    """

    def __init__(
        self,
        seal: Callable[[bytes, str], str],
        unseal: Callable[[str, str], bytes],
        now: Callable[[], float],
        *,
        is_secure: bool,
    ) -> None:
        self._seal = seal
        self._unseal = unseal
        self.now = now
        self._is_secure = is_secure

    @property
    def cookie(self) -> str:
        """The cookie's name: over https one that no other host can set."""
        return self.named("sharing-console")

    def named(self, name: str) -> str:
        """A cookie's name, as the sign-in pages of the API have it too."""
        return f"__Host-{name}" if self._is_secure else name

    def read(self, request: Request) -> tuple[Session, bool]:
        """The session of a request, a new and empty one where it bears none; and whether one has just ended."""
        try:
            found = json.loads(self._unseal(request.cookies.get(self.cookie, ""), _CONTEXT))
            session = Session(**{**found, "roles": tuple(found["roles"])})
        except (GatewayError, ValueError, TypeError, KeyError):
            return self.begin(), False
        now = self.now()
        if not session.token:
            return (session, False) if now - session.seen < IDLE_SECONDS else (self.begin(), False)
        if now - session.seen >= IDLE_SECONDS or now >= session.ends:
            return self.begin(), True
        return session, False

    def begin(self) -> Session:
        """A session of nobody yet, whose forms are known all the same."""
        return Session(form=secrets.token_urlsafe(24), seen=int(self.now()))

    def signed_in(self, officer: Mapping[str, Any], token: str, method: str, seconds: int) -> Session:
        """The session of an officer who has just signed in: all of it is new."""
        now = int(self.now())
        return Session(
            token=token,
            officer=officer["id"],
            name=(officer["name"] or officer["id"])[:NAME_CHARACTERS],
            department=officer["department"],
            roles=tuple(officer["roles"]),
            method=method,
            begun=now,
            ends=now + seconds,
            seen=now,
            form=secrets.token_urlsafe(24),
        )

    def write(self, session: Session, response: Response) -> None:
        """Hand the session to the browser, as seen now."""
        seen = replace(session, seen=int(self.now()))
        sealed = self._seal(json.dumps(asdict(seen), ensure_ascii=False).encode(), _CONTEXT)
        self.set_cookie(response, self.cookie, sealed)

    def set_cookie(self, response: Response, name: str, value: str, *, seconds: int | None = None) -> None:
        """Set a cookie of the console's."""
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path="/" if self._is_secure else "/console",
            secure=self._is_secure,
            httponly=True,
            samesite="strict",
        )

    def drop(self, response: Response) -> None:
        """Take the cookie back."""
        path = "/" if self._is_secure else "/console"
        response.delete_cookie(self.cookie, path, secure=self._is_secure, httponly=True, samesite="strict")
