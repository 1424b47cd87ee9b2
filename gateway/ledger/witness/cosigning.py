"""Getting this log's checkpoints cosigned, off the path of integration.

Each witness is asked on a thread of its own, and no fault of one is an obstacle: not to the others, not to the next
round, not to the log. What went wrong stands in `CosigningState.faults`, which status and metrics show. One answer
alone stops the log: that a witness has cosigned what this log does not have (`WitnessClient`).
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import msgspec

from gateway.domain.errors import GatewayError
from gateway.ledger.durable import replace_file
from gateway.ledger.log.checkpoints import Published, parse_published
from gateway.ledger.log.notes import Note, parse_note
from gateway.ledger.log.proofs import Hashes
from gateway.ledger.log.reading import COSIGNED
from gateway.ledger.log.tiled_log import TiledLog
from gateway.ledger.witness.witness import Cosigned, WitnessClient

PAUSE_SECONDS = 10.0
log = logging.getLogger("gateway.ledger")

ROUND_SECONDS = 30.0
"""How long a round waits for its witnesses: the time-outs of one exchange, and room for a second question."""
_STOP_SECONDS = 0.2


class CosigningState(msgspec.Struct, frozen=True):
    """How cosigning stands: size cosigned last, and each witness's last fault ("" for none)."""

    size: int = 0
    faults: dict[str, str] = {}


class Cosigning:
    """Asks every witness for every newer checkpoint, on threads of its own, and keeps the cosigned note.

    The note with cosignatures stands in `tree/cosigned`, the newest signed one in `tree/checkpoint`. Only what is
    published is asked about: a checkpoint that is signed but whose tiles are not in place has no proofs yet.

    Args:
        log: the log.
        witnesses: whom to ask.
        pause_seconds: between rounds.
        round_seconds: how long a round waits for answers; one that comes later counts in the round after.
    """

    def __init__(
        self,
        log: TiledLog,
        witnesses: Sequence[WitnessClient],
        *,
        pause_seconds: float = PAUSE_SECONDS,
        round_seconds: float = ROUND_SECONDS,
    ) -> None:
        self._log = log
        self._witnesses = witnesses
        self._pause_seconds = pause_seconds
        self._round_seconds = round_seconds
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._askers = ThreadPoolExecutor(max(1, len(witnesses)), thread_name_prefix="ledger-witness")
        self._asked: dict[WitnessClient, Future[Cosigned]] = {}
        self.state = CosigningState(self.cosigned().size)

    def refuse_if_behind(self) -> None:
        """Ask the witnesses once before anything is signed; one that does not answer is no obstacle.

        Raises:
            GatewayError: `conflict` if a witness has cosigned what this log does not have.
        """
        for answer in self.round():
            if answer.ahead:
                # INVARIANT: NEVER-FORKED: a log that is behind its witness was restored from an older copy.
                raise GatewayError(
                    "conflict", f"witness `{answer.name}`: {answer.fault}; this log stands at {self._log.size}"
                )

    def start(self, on_ahead: Callable[[Cosigned], None]) -> None:
        """Begin asking; `on_ahead` is called if a witness turns out to know more than this log."""
        if not self._witnesses:
            return
        self._thread = threading.Thread(target=self._work, args=(on_ahead,), name="ledger-cosigning", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop asking; a request under way ends by its timeout."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._askers.shutdown(wait=False, cancel_futures=True)
        for witness in self._witnesses:
            witness.close()

    def round(self) -> list[Cosigned]:
        """Ask each witness to cosign the published checkpoint, and keep the note that bears their answers.

        Raises nothing: what went wrong stands in `state`.
        """
        answers: list[Cosigned] = []
        try:
            published = self._log.published()
            answers = self._ask_all(published)
            size = self._keep(published, answers)
        except Exception as error:
            # The next round may succeed, and says so as this one says why not.
            log.exception("the answers of a round of witnesses could not be kept")
            fault = f"the answers of this round could not be kept: {type(error).__name__}"
            self.state = CosigningState(self.state.size, {each.key.name: fault for each in self._witnesses})
        else:
            self.state = CosigningState(size, {answer.name: answer.fault for answer in answers})
        return answers

    def cosigned(self) -> Published:
        """The newest checkpoint that a witness cosigned, as it is kept; none if the file cannot be read."""
        try:
            return parse_published((self._log.files.root / COSIGNED).read_bytes())
        except (OSError, GatewayError):
            return Published()

    def _ask_all(self, published: Published) -> list[Cosigned]:
        """One answer of each witness, asked side by side; one still busy with an earlier round is not asked again."""
        for witness in self._witnesses:
            if witness not in self._asked:
                self._asked[witness] = self._askers.submit(self._ask, witness, published)
        until = time.monotonic() + self._round_seconds
        while time.monotonic() < until and not self._stop.is_set():
            if not wait(self._asked.values(), min(self._round_seconds, _STOP_SECONDS)).not_done:
                break
        answers = []
        for witness, asked in list(self._asked.items()):
            if asked.done():
                answers.append(asked.result())
                del self._asked[witness]
            else:
                answers.append(Cosigned(witness.key.name, fault="it has not answered in time"))
        return answers

    def _ask(self, witness: WitnessClient, published: Published) -> Cosigned:
        try:
            return witness.cosign(published, Hashes(published.size, self._log.files.tile))
        except GatewayError as error:
            return Cosigned(witness.key.name, fault=error.detail)
        except Exception as error:
            # Whatever one witness does, the others are asked, and it is again.
            log.exception("asking witness `%s` failed", witness.key.name)
            return Cosigned(witness.key.name, fault=f"asking it failed: {type(error).__name__}")

    def _keep(self, published: Published, answers: Sequence[Cosigned]) -> int:
        """Keep the cosignatures over `published`, beside those it has already; returns the size cosigned last."""
        # An answer that came late is about an earlier checkpoint.
        new = [each.signature for each in answers if each.signature is not None and each.note == published.note]
        if not new:
            return self.state.size
        note = parse_note(published.note)
        held = self.cosigned().note
        kept = [earlier] if held and (earlier := parse_note(held)).text == note.text else []
        signatures = {(each.name, each.key_id): each for of in (note, *kept) for each in of.signatures}
        signatures |= {(each.name, each.key_id): each for each in new}
        replace_file(self._log.files.root / COSIGNED, Note(note.text, tuple(signatures.values())).encode().encode())
        return published.size

    def _work(self, on_ahead: Callable[[Cosigned], None]) -> None:
        while not self._stop.wait(self._pause_seconds):
            if self._log.size == self.state.size and not any(self.state.faults.values()):
                continue
            for answer in self.round():
                if answer.ahead:
                    on_ahead(answer)
