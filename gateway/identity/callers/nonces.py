"""Nonces of DPoP proofs (RFC 9449 §8, §9), of the whole cluster: what one node gave out holds at every other.

    nonce    base64url( secret's number (4) ‖ period (8) ‖ MAC under that secret, over both (16) )

They are stateless but for the secrets, which stand in the state, sealed by the field key: every process of every node
reads the same ones each `REFRESH_SECONDS`. A nonce holds for two to four minutes, which bounds how far ahead a proof
can be made by someone who holds the key only for a moment.

**A secret's life.** It is made a day after the one before it, by whichever process sees first that it is time. Nonces
are made with it only `LEAD_SECONDS` later, when every process has read it; the one before is taken until the last
nonce made with it has ended. So no rotation refuses anyone.

**Where used proofs are remembered by one machine alone** (`replay`), nonces are tied to that memory by `place`: once
a reboot has lost it, a proof from before bears a nonce that is none any more. Periods are then counted by a clock that
nobody can set: when the machine's clock is set back, no nonce that has ended holds again.
"""

import asyncio
import hmac
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from gateway.domain.errors import GatewayError
from gateway.identity.keys.symmetric import FieldCipher
from gateway.identity.strict import to_base64url
from gateway.identity.tokens.verify import SKEW_SECONDS

log = logging.getLogger(__name__)

PERIOD_SECONDS = 120
ROTATE_SECONDS = 86400
LEAD_SECONDS = 60
REFRESH_SECONDS = 10.0
_ENDED_SECONDS = LEAD_SECONDS + 2 * PERIOD_SECONDS + 2 * SKEW_SECONDS
"""How long after its successor was made a secret's nonces may still be under way."""


class NonceSecret(msgspec.Struct, frozen=True):
    """A secret that nonces are made with: its number in the cluster, and when it was made, Unix seconds."""

    number: int
    secret: bytes
    made_unix: int

    def __repr__(self) -> str:
        """Never shows the secret (INVARIANT: NO-VALUES)."""
        return f"NonceSecret(number={self.number})"


class SealedSecrets(Protocol):
    """Where the cluster's secrets stand, sealed."""

    def nonce_secrets(self) -> Sequence[tuple[int, str, int]]:
        """Number, sealed secret and when it was made of each, by number; may block."""

    def add_nonce_secret(self, number: int, sealed: str, made_unix: int) -> None:
        """Add one, unless another process has; drop those before its predecessor; may block."""


class Nonces:
    """Makes and checks nonces.

    Args:
        held: the cluster's secrets, by number; at least one before anything is asked.
        now: the clock, Unix seconds.
        place: what shares one memory of used proofs, where that is not the whole cluster.
        ticks: what periods are counted by, in seconds; `now` where the processes share no other clock.
    """

    def __init__(
        self,
        held: Sequence[NonceSecret],
        now: Callable[[], float],
        place: str = "",
        ticks: Callable[[], float] | None = None,
    ) -> None:
        self._now = now
        self._ticks = ticks or now
        self._place = place.encode("utf-8")
        self._held = tuple(held)
        self._made: dict[tuple[int, int], str] = {}

    def take(self, held: Sequence[NonceSecret]) -> None:
        """Go on with these secrets."""
        self._made = {}
        self._held = tuple(held)

    def current(self) -> str:
        """The nonce to hand out now."""
        at = self._now()
        known = [each for each in self._held if each.made_unix + LEAD_SECONDS <= at]
        return self._of((known or self._held[:1])[-1], int(self._ticks()) // PERIOD_SECONDS)

    def is_current(self, nonce: object) -> bool:
        """Whether `nonce` was handed out in this period or the one before, by any node; clocks differ a little."""
        if not isinstance(nonce, str):
            return False
        ticks = self._ticks()
        periods = range(int(ticks) // PERIOD_SECONDS - 1, int(ticks + SKEW_SECONDS) // PERIOD_SECONDS + 1)
        return any(nonce == self._of(each, period) for each in self._taken(self._now()) for period in periods)

    def _taken(self, at: float) -> list[NonceSecret]:
        after = [*self._held[1:], None]
        return [
            each
            for each, successor in zip(self._held, after, strict=True)
            if successor is None or at < successor.made_unix + _ENDED_SECONDS
        ]

    def _of(self, held: NonceSecret, period: int) -> str:
        known = self._made.get((held.number, period))
        if known is None:
            name = held.number.to_bytes(4) + period.to_bytes(8)
            key = hmac.digest(held.secret, b"dpop nonce/" + self._place, "sha256")
            known = to_base64url(name + hmac.digest(key, name, "sha256")[:16])
            self._made = {at: made for at, made in self._made.items() if at[1] >= period - 2}
            self._made[held.number, period] = known
        return known


class NonceKeeper:
    """Keeps a process's nonces made with the cluster's secrets, and renews these in time.

    Args:
        state: where they stand.
        cipher: seals and opens them.
        now: the clock, Unix seconds.
        place: see `Nonces`.
        ticks: see `Nonces`.
    """

    def __init__(
        self,
        state: SealedSecrets,
        cipher: Callable[[], FieldCipher],
        now: Callable[[], float],
        place: str = "",
        ticks: Callable[[], float] | None = None,
    ) -> None:
        self._state = state
        self._cipher = cipher
        self._now = now
        self.nonces = Nonces((), now, place, ticks)

    def refresh(self) -> None:
        """Read the secrets, and make the next one where it is time; may block.

        Raises:
            GatewayError: `unavailable` where the state cannot be reached.
        """
        held, newest = self._opened()
        if not held or held[-1].number != newest or held[-1].made_unix + ROTATE_SECONDS <= self._now():
            number = newest + 1
            sealed = self._cipher().seal(secrets.token_bytes(32), _context(number))
            self._state.add_nonce_secret(number, sealed, int(self._now()))
            held, _ = self._opened()
        if not held:
            raise GatewayError("unavailable", "the cluster's nonce secrets are sealed under keys that are not here")
        self.nonces.take(held)

    def _opened(self) -> tuple[list[NonceSecret], int]:
        """The secrets that this node can open, and the number of the newest of all."""
        held, newest = [], 0
        for number, sealed, made_unix in self._state.nonce_secrets():
            newest = number
            try:
                held.append(NonceSecret(number, self._cipher().unseal(sealed, _context(number)), made_unix))
            except GatewayError:
                # A key ring that was replaced, or another node's that was never copied here (docs/operate.md).
                log.warning("nonce secret %d is sealed under a field key that this node's ring does not hold", number)
        return held, newest

    async def run(self) -> None:
        """Refresh for ever; what stands goes on while the state is away."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await asyncio.to_thread(self.refresh)
            except GatewayError as error:
                log.warning("the nonces' secrets cannot be read for now: %s", error.code)


HOLDS_SECONDS = 2 * PERIOD_SECONDS + SKEW_SECONDS
"""No nonce holds longer, by the clock that its periods are counted by."""


def _context(number: int) -> str:
    return f"nonce/{number}"
