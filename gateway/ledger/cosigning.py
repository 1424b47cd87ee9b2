"""Getting this log's checkpoints cosigned, off the path of integration."""

import threading
from collections.abc import Callable, Sequence

import msgspec

from gateway.domain.errors import GatewayError
from gateway.ledger.checkpoints import parse_checkpoint
from gateway.ledger.durable import replace_file
from gateway.ledger.log import TiledLog
from gateway.ledger.log_files import COSIGNED
from gateway.ledger.notes import Note, parse_note
from gateway.ledger.proofs import Hashes
from gateway.ledger.witness import Cosigned, WitnessClient

PAUSE_SECONDS = 10.0


class CosigningState(msgspec.Struct, frozen=True):
    """How cosigning stands: size cosigned last, and each witness's last fault ("" for none)."""

    size: int = 0
    faults: dict[str, str] = {}


class Cosigning:
    """Asks every witness for every newer checkpoint, on a thread of its own, and keeps the cosigned note.

    The note with cosignatures stands in `tree/cosigned`, the newest signed one in `tree/checkpoint`.

    Args:
        log: the log.
        witnesses: whom to ask.
        pause_seconds: between rounds.
    """

    def __init__(
        self, log: TiledLog, witnesses: Sequence[WitnessClient], *, pause_seconds: float = PAUSE_SECONDS
    ) -> None:
        self._log = log
        self._witnesses = witnesses
        self._pause_seconds = pause_seconds
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.state = CosigningState()

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
        for witness in self._witnesses:
            witness.close()

    def round(self) -> list[Cosigned]:
        """Ask each witness to cosign the newest checkpoint, and keep the note that bears their answers."""
        content = self._log.note
        if not content:
            return []
        note = parse_note(content)
        size = parse_checkpoint(note.text).size
        answers = [witness.cosign(content, Hashes(size, self._log.files.tile)) for witness in self._witnesses]
        signatures = tuple(answer.signature for answer in answers if answer.signature is not None)
        if signatures:
            cosigned = Note(note.text, (*note.signatures, *signatures))
            replace_file(self._log.files.root / COSIGNED, cosigned.encode().encode())
            self.state = CosigningState(size, {answer.name: answer.fault for answer in answers})
        else:
            self.state = CosigningState(self.state.size, {answer.name: answer.fault for answer in answers})
        return answers

    def cosigned(self) -> bytes:
        """The newest cosigned checkpoint; empty if there is none."""
        try:
            return (self._log.files.root / COSIGNED).read_bytes()
        except FileNotFoundError:
            return b""

    def _work(self, on_ahead: Callable[[Cosigned], None]) -> None:
        while not self._stop.wait(self._pause_seconds):
            if self._log.size == self.state.size:
                continue
            for answer in self.round():
                if answer.ahead:
                    on_ahead(answer)
