"""The console over a whole control plane, in process, with officers who have passwords."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec import to_builtins
from starlette.responses import Response

from gateway.console.session import SessionKeeper
from gateway.control.act.examples import GRANT
from gateway.runtime.control.console import serve_console
from gateway.runtime.settings import ControlSettings
from tests.answers.world import Clock, FullWorld
from tests.support.console import PASSWORD, Browser
from tests.support.control import ISSUER, done
from tests.support.gateways import wait_for

MORNING = 1_780_300_000.0


class Office(FullWorld):
    """A control plane with its console."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        serve_console(self.app, self.services, ControlSettings(), ISSUER)  # type: ignore[call-arg]
        self.furnish()
        self.keeper = SessionKeeper(self.services.seal, self.services.unseal, self.clock, is_secure=False)
        for officer in ("police", "civil"):
            code = done(self.post("registrar", f"/v1/officers/{officer}/enrolment"))["code"]
            said = {"officer": officer, "code": code, "password": PASSWORD}
            done(self.post(None, "/sign-in/enrolment", said))

    def browser(self, language: str = "en") -> Browser:
        def ask(method: str, path: str, **options: Any) -> Any:
            # A browser keeps its own cookies; those of the client that all share would be another's.
            self._client.cookies.clear()
            return self.ask(None, method, path, **options)

        return Browser(ask, ISSUER, language)

    def signed_in(self, officer: str, language: str = "en") -> Browser:
        """A browser with the cookie that a sign-in leaves, without the cost of a password."""
        found = self.store.officer(officer)
        assert found is not None
        session = self.store.open_session(officer, "password", 1800)
        token = self.issuer.issue_officer(found, 1800, session=session.id)
        answer = Response()
        self.keeper.write(self.keeper.signed_in(to_builtins(found) | {"name": ""}, token, "password", 1800), answer)
        browser = self.browser(language)
        browser.keep(answer.headers.getlist("set-cookie"))
        return browser

    def settle(self) -> None:
        """Wait until the index has everything that was recorded by now."""
        id_ = f"g-settle-{self.store.sequence()}"
        self.grant(id=id_)
        assert wait_for(lambda: done(self.get("auditor", "/v1/records", grant=id_))["items"])
        self.clock.at += 3

    def lift_all(self) -> None:
        """Lift what other tests have suspended: a suspension closes every road of its pair of department and data."""
        for order in done(self.get("police", "/v1/orders", in_force="true", limit=1000))["items"]:
            if order["kind"] != "termination":
                said = {"reason": "another test begins", "order": order["id"]}
                done(self.post("police", f"/v1/grants/{order['target']}/suspension/lift", said))

    def state(self, grant: str) -> str:
        return str(done(self.get("police", f"/v1/grants/{grant}"))["grant"]["state"])


@pytest.fixture(scope="package")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    pytest.importorskip("jinja2", reason="the environment is older than the console")
    made = Office(tmp_path_factory.mktemp("office"), Clock(MORNING))
    yield made
    made.close()


@pytest.fixture
def grant(office: Office, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Issues grants, each with a number of its own, where nothing is suspended."""
    office.lift_all()
    issued: list[str] = []

    def issue(**fields: Any) -> str:
        id_ = f"g-{abs(hash(request.node.name)) % 10**8}-{len(issued)}"
        issued.append(id_)
        return str(office.grant(**{**GRANT, "id": id_, **fields})["id"])

    return issue
