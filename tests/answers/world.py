"""The whole control plane on a fixed clock: tokens, sign-in, credentials and a witness beside what `World` has."""

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import httpx

from gateway.client.keys import ClientKey, new_private_key
from gateway.control.app.app import create_app
from gateway.control.sign_in.by_provider import bound_for_good, ender, noter
from gateway.control.sign_in.credentials import credentials_router
from gateway.control.sign_in.enrolment import people_routers
from gateway.control.sign_in.oauth import TOKEN_PATH, OAuthServices
from gateway.control.sign_in.possession import Possession
from gateway.control.sign_in.sign_in import SecondFactor, SignInServices, recorder, teller
from gateway.control.suppliers.checks import HostChecks
from gateway.domain.calendar import china_day
from gateway.domain.callers import Assurance, Caller
from gateway.domain.directory import SharingMode
from gateway.domain.hosts import Host, Networks
from gateway.domain.texts import sealed
from gateway.domain.uses import Outcome, RecordKind, Use
from gateway.domain.verdicts import Call
from gateway.identity.callers.assertions import AssertionVerifier
from gateway.identity.callers.dpop import ProofVerifier
from gateway.identity.callers.security_log import FailureBudget, SecurityLog
from gateway.identity.keys.keyring import KeyRing
from gateway.identity.keys.texts import TextSealer
from gateway.identity.officers.accounts import LocalAccounts
from gateway.ledger.journal.acts import ActJournal
from gateway.ledger.journal.uses import UseJournal
from gateway.ledger.log.notes import ED25519, VerifierKey
from gateway.ledger.process.service import LedgerService
from gateway.ledger.witness.witness import Witness
from gateway.runtime.control.readiness import StateProof, readiness
from gateway.runtime.telemetry.metrics import render
from gateway.store.texts import NewText
from tests.answers.provider import ExampleProvider
from tests.support.control import ISSUER, World
from tests.support.ledger import TestSigner

WITNESSED = "other.example/log"
WITNESSED_KEY = TestSigner(b"\x05" * 32)


class Clock:
    """Unix seconds, moved by hand."""

    def __init__(self, at: float) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at

    def ns(self) -> int:
        return int(self.at) * 1_000_000_000


def record_long_ago(folder: Path, clock: Clock, records: int) -> None:
    """Records of readings, made at `clock` by a process that is gone."""
    acts = ActJournal(folder / "ledger", "archive", clock_ns=clock.ns, low_water_bytes=1)
    said = {"act": "consultRecords", "officer": "auditor", "officer_department": "data-bureau"}
    acts.append_all(RecordKind.CONSULTATION, [said] * records)
    acts.close()


class KnownHosts(HostChecks):
    """The network as the story has it: every service knows of its claim."""

    def prove(self, host: Host, signature: str | None) -> str:
        """As it would be proved by the nonce."""
        return "nonce"


class FullWorld(World):
    """As the control process wires it, in process."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        KeyRing.create(folder / "keys", now=clock)
        super().__init__(folder, ledger=True, now=clock, clock=clock)
        self.ring._now = clock
        self.clock = clock
        self.client = ClientKey(new_private_key(), "2026-08")
        self.provider = ExampleProvider("civil", clock)
        self.parts: dict[str, bool] = {}
        name = "control.example/witness"
        self._witness = Witness(
            folder / "witness.db",
            name=name,
            signer=self.ring.witness_signer(name),
            logs={WITNESSED: [VerifierKey(WITNESSED, ED25519, WITNESSED_KEY.public_bytes)]},
            clock=clock,
        )
        # What the control process itself says of its parts where no worker hangs on it.
        home: Any = SimpleNamespace(run=folder)
        self.parts_without_workers = dict(readiness(home, None, StateProof(self.store, "node")))
        self.parts = dict.fromkeys(self.parts_without_workers, True)
        self.services = replace(
            self.services,
            oauth=self._oauth(),
            witness=self._witness,
            hosts=KnownHosts(Networks(["192.0.2.0/24"]), look_up=lambda _name, _port: ("192.0.2.9",)),
            metrics=self._metrics,
            may_scrape=lambda presented: presented == "the-scrape-credential-of-the-example",
            readiness=lambda: self.parts,
        )
        self._runner.run(self._client.aclose())
        self.app = create_app(self.services)
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(base_url=ISSUER, transport=transport)

    @property
    def ledger(self) -> LedgerService:
        assert self._ledger is not None
        return self._ledger

    def close(self) -> None:
        super().close()
        self._witness.close()

    def until_exported(self, progress: str) -> None:
        """Wait until an export that was begun is made."""
        while self.get("auditor", progress).status_code == 202:
            pass

    def use(self, purpose: str) -> str:
        """A use of the household interface, decided and recorded as a worker does; the record's id."""
        now = int(self.clock())
        system = "marriage-registry"
        call = Call(
            system=system,
            department="civil-affairs",
            assurance=Assurance.MTLS,
            interface="public-security/household",
            dataset="307010001.000012",
            mode=SharingMode.QUERY,
            purpose=purpose,
            items=None,
        )
        verdict = self.engine.decide(call, now)
        caller = Caller(system, call.department, Assurance.MTLS, "a-token", now + 300)
        digest = "5e" * 32
        use = Use(
            caller,
            call,
            verdict,
            "public-security",
            self._kept(system, "marriage registration at the counter"),
            self._kept(system, "clerk 17"),
            "7a" * 16,
            digest,
            None,
            self.clock.ns(),
            purpose=call.purpose,
        )
        outcome = Outcome(200, verdict.items, 1, 412, digest, 38_000, "complete")
        return self._runner.run(self._record(use, outcome))

    def _kept(self, system: str, text: str) -> str:
        """What a record of the system names a text by; it is the same in each telling."""
        sealer = TextSealer(self.ring, lambda: bytes(32))

        def seal() -> tuple[str, str]:
            made = sealer.seal(text)
            return made.digest, made.sealed

        mark, word = sealer.mark(system, text), sealer.mark("", text)
        wanted = NewText(mark, word, system, "civil-affairs", 3, seal)
        return sealed(self.store.keep_texts([wanted], china_day(self.clock.ns() / 1e9), 100)[mark])

    async def _record(self, use: Use, outcome: Outcome) -> str:
        loop = asyncio.get_running_loop()
        journal = UseJournal(
            self.ledger.directory,
            "worker-1",
            loop=loop,
            clock_ns=self.clock.ns,
            on_poisoned=lambda _: None,
            low_water_bytes=0,
            segment_bytes=1 << 20,
        )
        try:
            if not use.verdict.is_permit:
                return journal.refused(use)
            durable = loop.create_future()
            record = journal.opened(use, durable.set_result)
            assert await durable is None
            journal.closed(record, use, outcome)
            return record
        finally:
            journal.close()

    def _metrics(self) -> str:
        return render([], self.clock())[0].decode()

    def _oauth(self) -> OAuthServices:
        security = SecurityLog(self.clock)
        sign_in = self.signing_in = SignInServices(
            issuer=self.issuer,
            officer=self.store.officer,
            open_session=self.store.open_session,
            known_as=bound_for_good(self.store),
            security=security,
            accounts=LocalAccounts(self.store.officer, self.store.officer_secret, self.clock),
            provider=self.provider.sign_in(),
            cipher=self.ring.field_cipher,
            use_once=self.store.use_once,
            end_as=ender(self.store, self.acts),
            note_provider=noter(self.store),
            tell=teller(self.store),
            signed_in=recorder(self.acts),
            second_factor=SecondFactor(
                self.store.authenticator, self.ring.field_cipher, self.store.use_once, self.clock
            ),
            possession=Possession(ProofVerifier(self.clock, None), self.store.use_once, ISSUER),
        )
        return OAuthServices(
            issuer=self.issuer,
            assertions=AssertionVerifier(
                ISSUER, ISSUER + TOKEN_PATH, self.store.system, self.store.use_once, self.clock
            ),
            proofs=ProofVerifier(self.clock, None),
            system=self.store.system,
            use_once=self.store.use_once,
            jwks=self.ring.jwks,
            security=security,
            budget=FailureBudget(self.clock),
            further=(credentials_router(self.ring), *people_routers(sign_in)),
        )


def quick_ledger() -> Any:
    """Within it, the ledger's rounds follow each other without a pause."""
    return patch("gateway.ledger.process.service.ROUND_SECONDS", 0.005)
