"""A control plane over real rooms: SQLite, Cedar, key ring, journals and, where asked for, the ledger."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
from fastapi import FastAPI

from gateway.control.act.examples import DATASET, GRANT, INTERFACE, STANDS_AT, SYSTEM
from gateway.control.act.services import ControlServices
from gateway.control.app.app import create_app
from gateway.control.barrier.barrier import Barrier
from gateway.control.policies.desk import PolicyDesk
from gateway.control.policies.standing import StandingState
from gateway.control.sign_in.possession import Possession
from gateway.control.sign_in.sign_in import OfficerSignIn
from gateway.domain.directory import Department, Interface, Level, Purpose
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import Host, HostState
from gateway.domain.officers import Officer, Role, Session
from gateway.domain.policies import PolicySet
from gateway.identity.callers.dpop import ProofVerifier
from gateway.identity.callers.security_log import SecurityLog
from gateway.identity.keys.keyring import KeyRing
from gateway.identity.keys.texts import TextSealer
from gateway.identity.tokens.issuing import TokenIssuer
from gateway.identity.tokens.verify import OwnIssuer, TokenVerifier
from gateway.ledger.journal.acts import ActJournal
from gateway.ledger.process.client import LedgerClient
from gateway.ledger.process.service import LedgerService
from gateway.policy import Engine, default_policies_root
from gateway.policy.law.layers import read_set
from gateway.policy.offline.activating import PolicyKeeper
from gateway.policy.offline.checking import Checked, check_set
from gateway.policy.offline.examining import Examined, Solve, examine
from gateway.proxy.ports import Reach
from gateway.runtime.control.trying import Trials
from gateway.store import Store

BEGAN = time.monotonic()


def standing_time() -> float:
    """Unix seconds of the tests: the moment at which the examples stand, going on from when the tests began."""
    return STANDS_AT.timestamp() + time.monotonic() - BEGAN


ISSUER = "http://control.example"
CITY, OTHER_CITY = "442000", "441300"

DEPARTMENTS = (
    Department("data-bureau", "市政务服务和数据管理局", CITY, Level.CITY, competent=True),
    Department("public-security", "市公安局", CITY, Level.CITY),
    Department("civil-affairs", "市民政局", CITY, Level.CITY),
    Department("market", "市市场监督管理局", CITY, Level.CITY),
    Department("province-bureau", "省政务服务和数据管理局", "440000", Level.PROVINCE, competent=True),
    Department("elsewhere", "外市政务服务和数据管理局", OTHER_CITY, Level.CITY, competent=True),
)
OFFICERS = (
    Officer("registrar", "data-bureau", CITY, (Role.COMPETENT,)),
    Officer("province", "province-bureau", "440000", (Role.COMPETENT,)),
    Officer("auditor", "data-bureau", CITY, (Role.AUDITOR,)),
    Officer("inspector", "province-bureau", "440000", (Role.AUDITOR,)),
    Officer("operator", "province-bureau", "440000", (Role.OPERATOR,)),
    Officer("city-operator", "data-bureau", CITY, (Role.OPERATOR,)),
    Officer("police", "public-security", CITY, (Role.SUPPLIER, Role.PAPER)),
    Officer("civil", "civil-affairs", CITY, (Role.DEMAND,)),
    Officer("market-both", "market", CITY, (Role.SUPPLIER, Role.DEMAND)),
    Officer("stranger", "elsewhere", OTHER_CITY, (Role.COMPETENT,)),
)
HOST = Host(
    "public-security",
    "household.public-security.example",
    443,
    addresses=("192.0.2.7",),
    state=HostState.CONFIRMED,
)


@cache
def national_set() -> PolicySet:
    """The national layer, read once: sets are immutable."""
    return read_set(default_policies_root(), ["national"])


_CHECKED: dict[str, Checked] = {}


def _checked_once(policies: PolicySet) -> Checked:
    """What a check finds: it asks for nothing but the set, and a second of it is enough for one run."""
    known = policies.id
    if known not in _CHECKED:
        _CHECKED[known] = check_set(policies)
    return _CHECKED[known]


_APPS: list[FastAPI] = []


def shared_app(services: ControlServices) -> FastAPI:
    """One application for all worlds: what serves a request is what `app.state.services` says then."""
    if not _APPS:
        _APPS.append(create_app(services))
    return _APPS[0]


class World:
    """A control plane and its officers; acts are decided by `now`, all else goes by `clock`."""

    def __init__(
        self,
        folder: Path,
        *,
        barrier: Barrier | None = None,
        ledger: bool = False,
        state_url: str = "",
        now: Callable[[], float] = standing_time,
        clock: Callable[[], float] = standing_time,
        **services: Any,
    ) -> None:
        self.now = now
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self.store = Store.open(state_url or f"sqlite:///{folder / 'state.db'}", clock=clock)
        keys = folder / "keys"
        self.ring = KeyRing.open(keys, now=clock) if keys.exists() else KeyRing.create(keys, now=clock)
        self.issuer = TokenIssuer(self.ring, ISSUER, "sharing-gateway", clock)
        verifier = TokenVerifier(OwnIssuer(ISSUER, "sharing-gateway", self.ring), clock)
        clock_ns = lambda: int(clock() * 1_000_000_000)  # noqa: E731
        self.acts = ActJournal(folder / "ledger", "control", clock_ns=clock_ns, low_water_bytes=1)
        keeper = PolicyKeeper(self.store, national_set)
        self.engine = Engine(keeper.now.layers, self.store.slice_state)
        keeper.attach(self.engine)
        self._stop = threading.Event()
        self.ledger_key = ""
        self._ledger: LedgerService | None = None
        self._thread: threading.Thread | None = None
        if ledger:
            origin = "control.example/log"
            signer = self.ring.log_signer(origin)
            self._ledger = LedgerService(folder / "ledger", origin=origin, signer=signer, clock=clock, ticks=clock)
            self._ledger.serve_questions(folder / "l.sock")
            self.ledger_key = self._ledger.status().verifier_key
            self._thread = threading.Thread(target=self._ledger.run, args=(self._stop,))
            self._thread.start()
        spool = folder / "spool"
        spool.mkdir(exist_ok=True)
        possession = Possession(ProofVerifier(clock, None), self.store.use_once, ISSUER)
        self.texts = TextSealer(self.ring)
        self.services = ControlServices(
            store=self.store,
            engine=self.engine,
            acts=self.acts,
            ledger=LedgerClient(folder / "l.sock"),
            sign_in=OfficerSignIn(verifier, self.store, SecurityLog(clock), clock, possession),
            barrier=barrier or Barrier(None, now=clock),
            now=lambda: self.now(),  # noqa: PLW0108 - a test moves the clock by setting `now`
            tree=folder / "ledger" / "tree",
            spool=spool,
            policies_root=default_policies_root(),
            policies=PolicyDesk(self.store, keeper, self._examine, node="control.example/log"),
            trials=Trials(self._no_reach),
            unseal=lambda sealed, context: self.ring.field_cipher().unseal(sealed, context),
            open_text=self.texts.open,
            seal_text=self.texts.seal,
            word_of=partial(self.texts.mark, ""),
            seal=lambda secret, context: self.ring.field_cipher().seal(secret, context),
            secret_mark=lambda secret: f"mark of {len(secret)} characters",
            pseudonyms=lambda identifier: (f"pseudonym-of-{len(identifier)}-bytes",),
            **services,
        )
        self.app = shared_app(self.services)
        self.app.state.services = self.services
        self._runner = asyncio.Runner()
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(base_url=ISSUER, transport=transport)
        if self.store.sequence():
            return
        with self.store.transaction() as tx:
            for department in DEPARTMENTS:
                tx.put_department(department)
            for officer in OFFICERS:
                tx.put_officer(officer)
            tx.put_purpose(Purpose("marriage-registration", "婚姻登记"))
            tx.put_host(HOST)
            tx.put_purpose(Purpose("social-assistance", "社会救助"))

    def _examine(
        self, candidate: PolicySet, current: PolicySet | None, now_unix: int, solve: Solve, *, thorough: bool = False
    ) -> Examined:
        """As in a process of its own, without the process; what only the set decides is found out once."""
        with patch("gateway.policy.offline.examining.check_set", _checked_once):
            return examine(candidate, current, StandingState(self.store), now_unix, solve, thorough=thorough)

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()
        self._stop.set()
        if self._thread is not None and self._ledger is not None:
            self._thread.join()
            self._ledger.close()
        self.acts.close()
        self.store.close()

    def token(self, officer: str) -> str:
        found = self.store.officer(officer)
        assert found is not None
        session = self._sessions.get(officer)
        stored = self.store.session(session.id) if session is not None else None
        if stored is None or not stored.stands(self._clock() + 60):
            stored = self._sessions[officer] = self.store.open_session(officer, "password", 12 * 3600)
        return self.issuer.issue_officer(found, lifetime_seconds=300, session=stored.id)

    def ask(self, officer: str | None, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        headers = dict(options.pop("headers", {}))
        if officer is not None:
            headers["Authorization"] = f"Bearer {self.token(officer)}"
        if body is not None:
            options["json"] = body
        return self._runner.run(self._client.request(method, path, headers=headers, **options))

    def get(self, officer: str | None, path: str, **params: Any) -> httpx.Response:
        return self.ask(officer, "GET", path, params=params)

    def post(self, officer: str | None, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.ask(officer, "POST", path, body, **options)

    def at_once(self, officer: str, path: str, body: Any, times: int, **options: Any) -> list[httpx.Response]:
        """The answers to the same POST, sent so many times side by side."""
        headers = {**options.pop("headers", {}), "Authorization": f"Bearer {self.token(officer)}"}

        async def all_of_them() -> list[httpx.Response]:
            sent = (self._client.post(path, json=body, headers=headers, **options) for _ in range(times))
            return await asyncio.gather(*sent)

        return self._runner.run(all_of_them())

    def ask_and_leave(
        self, officer: str, method: str, path: str, body: Any, leaving: Callable[[], Awaitable[object]]
    ) -> httpx.Response:
        """The answer to a request whose sender is gone once `leaving` returns: nobody reads it but the test."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            has_sent = False

            async def received() -> Any:
                nonlocal has_sent
                if has_sent:
                    await leaving()
                    return {"type": "http.disconnect"}
                message = await receive()
                has_sent = not message.get("more_body", False)
                return message

            await self.app(scope, received, send)

        async def sent() -> httpx.Response:
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            async with httpx.AsyncClient(base_url=ISSUER, transport=transport) as client:
                headers = {"Authorization": f"Bearer {self.token(officer)}"}
                content = {"json": body} if method == "POST" else {}
                return await client.request(method, path, headers=headers, **content)

        return self._runner.run(sent())

    @staticmethod
    def _no_reach(_interface: Interface) -> Reach:
        raise GatewayError("supplier-unreachable", "no supplier stands in this world")

    def furnish(self) -> None:
        """A released dataset with its interface and a registered system."""
        done(self.post("registrar", "/v1/datasets?release=true", DATASET))
        done(self.post("registrar", "/v1/interfaces", INTERFACE))
        done(self.post("civil", "/v1/systems", SYSTEM))

    def grant(self, **fields: Any) -> dict[str, Any]:
        """An issued grant, as the API shows it."""
        return done(self.post("police", "/v1/grants", {**GRANT, **fields}))["grant"]


def done(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json()


def refused(answer: httpx.Response, code: str) -> dict[str, Any]:
    document = answer.json()
    assert document["type"] == f"/problems/{code}", answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert document["status"] == answer.status_code
    return document
