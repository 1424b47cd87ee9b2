"""Two nodes behind nginx and Envoy as deploy/ ships them: every second request meets the other node, no flow minds.

A balancer that spreads requests one by one is the hardest one: a nonce, a cursor, an export or a used-up value of one
node is shown to the other each time.
"""

import contextlib
import json
import os
import secrets
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.client import SharingAuth, new_private_key
from gateway.client.keys import ClientKey
from gateway.control.sign_in.sign_in import SESSION_COOKIE
from gateway.runtime.demo.population import Population
from gateway.runtime.demo.stage import furnish
from gateway.runtime.demo.story import PURPOSE, SYSTEM
from gateway.runtime.demo.suppliers import register_servers
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.session.api import REGISTRAR
from gateway.runtime.operation.session.officer_tokens import officer_token
from tests.support.deploy_tools import ROOT, tool
from tests.support.fronts import free_port, make_certificate, running_front
from tests.support.gateways import RunningGateway, wait_for
from tests.support.postgres import running_postgres
from tests.unit.identity.openid_provider import OpenIdProvider

pytestmark = pytest.mark.deep
FRESH_CLIENTS = 12
AUDITOR = "competent-lin"
PASSWORD = "seven cups of green tea"


@dataclass(frozen=True)
class House:
    """Two nodes and a front.

    Args:
        nodes: the nodes.
        folder: where the front's certificate is.
        control: the front's control plane, which is the issuer.
        data_plane: the front's data plane.
        path: a call that has an answer.
        key: the demand system's.
        provider: where officers sign in.
    """

    nodes: tuple[RunningGateway, RunningGateway]
    folder: Path
    control: str
    data_plane: str
    path: str
    key: str
    provider: OpenIdProvider

    @property
    def authority(self) -> str:
        return str(self.folder / "control.crt")

    def fresh_client(self, counted: Counter[str] | None = None) -> httpx.Client:
        """A client that has no token and no nonce, and begins a connection for each request."""

        def count(request: httpx.Request) -> None:
            if counted is not None:
                counted["sent"] += 1

        trust = ssl.create_default_context(cafile=self.authority)
        auth = SharingAuth(f"{self.control}/oauth/token", SYSTEM, self.key, purpose=PURPOSE, verify=trust)
        if counted is not None:
            auth.source.note = lambda event, _label="": counted.update([event])  # type: ignore[method-assign]
        return httpx.Client(
            base_url=self.data_plane,
            auth=auth,
            verify=trust,
            trust_env=False,
            timeout=30,
            limits=httpx.Limits(max_keepalive_connections=0),
            event_hooks={"request": [count]},
        )

    def browser(self) -> httpx.Client:
        """A person's, who begins a connection for each request."""
        return httpx.Client(
            base_url=self.control,
            verify=ssl.create_default_context(cafile=self.authority),
            trust_env=False,
            timeout=30,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def officer(self, id_: str = AUDITOR) -> httpx.Client:
        """The control plane through the front, as an officer."""
        token = officer_token(self.nodes[0].home.root, id_, 900)
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(
            base_url=self.control,
            headers=headers,
            verify=ssl.create_default_context(cafile=self.authority),
            trust_env=False,
            timeout=30,
        )


def curl(*arguments: str, authority: str) -> tuple[int, dict[str, str], Any]:
    """Status, header fields and JSON of what curl is answered."""
    done = subprocess.run(
        ["curl", "-sS", "-D", "-", "--cacert", authority, "--max-time", "30", *arguments],
        capture_output=True,
        check=True,
        text=True,
    )
    head, _, body = done.stdout.partition("\n\n") if "\r\n" not in done.stdout else done.stdout.partition("\r\n\r\n")
    lines = head.splitlines()
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return int(lines[0].split()[1]), fields, json.loads(body) if body.strip().startswith(("{", "[")) else body


@pytest.fixture(scope="module", params=["nginx", "envoy"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    if tool(request.param) is None:
        pytest.skip(f"{request.param} is not here: deploy/tools says how to get it")
    folder = tmp_path_factory.mktemp(f"behind-{request.param}")
    make_certificate(folder, "control")
    population, key = Population(), new_private_key()
    suppliers = register_servers(population)
    plane, control = free_port(), free_port()
    issuer = f"https://localhost:{control}"
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(running_postgres())
        url = postgres.url(postgres.create_database())
        for supplier in suppliers.values():
            supplier.start()
            stack.callback(supplier.stop)
        provider = OpenIdProvider({AUDITOR: PASSWORD})
        stack.callback(provider.close)
        provider.redirect_uris.add(f"{issuer}/sign-in/provider/answer")
        (folder / "client-secret").write_text(provider.client_secret, "ascii")
        nodes = []
        for number in (1, 2):
            environment = {
                "GATEWAY_OFFICERS__PROVIDER": provider.issuer,
                "GATEWAY_OFFICERS__CLIENT_ID": provider.client_id,
                "GATEWAY_OFFICERS__CLIENT_SECRET_FILE": str(folder / "client-secret"),
                "GATEWAY_STATE__URL": url,
                "GATEWAY_LEDGER__ORIGIN": f"behind/node-{number}",
                "GATEWAY_CONTROL__ISSUER": issuer,
                "GATEWAY_IDENTITY__TRUSTED_PROXIES": "127.0.0.1",
            }
            home = made_home(folder / f"node-{number}", environment, nodes[0].home if nodes else None)
            node = RunningGateway(home, {}, population, suppliers, key, environment)
            node.start()
            stack.callback(node.stop)
            nodes.append(node)
        with as_settings(nodes[0].home, url, issuer):
            furnish(nodes[0].home, {id_: server.url for id_, server in suppliers.items()}, key)
            ports = [[int(url.rpartition(":")[2]) for url in urls] for urls in zip(*map(planes, nodes), strict=True)]
            stack.enter_context(running_front(request.param, folder, *ports, ports=(plane, control)))
            person = population.marriages[0]["wife"]["id_number"]
            found = House(
                (nodes[0], nodes[1]),
                folder,
                issuer,
                f"http://127.0.0.1:{plane}",
                f"/civil-affairs/marriages?id_number={person}",
                key,
                provider,
            )
            with found.officer() as officer:
                assert wait_for(lambda: {origin(officer) for _ in range(4)} == {"behind/node-1", "behind/node-2"}, 30)
            yield found


def planes(node: RunningGateway) -> tuple[str, str]:
    return node.data_plane, node.control


def origin(officer: httpx.Client) -> str:
    """Which node answered: its log's name."""
    return officer.get("/log/checkpoint").text.partition("\n")[0]


def made_home(root: Path, environment: dict[str, str], first: GatewayHome | None) -> GatewayHome:
    """A node's home: keys of the first, a log key of its own."""
    command = [sys.executable, "-m", "gateway"]
    where = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [*command, "init", str(root), "--region", "440000", "--department", "data-bureau", "--json"],
        env=where,
        check=True,
        capture_output=True,
    )
    if first is not None:
        subprocess.run(["/bin/sh", "-c", f"rm -rf {root}/keys && cp -a {first.root}/keys {root}/keys"], check=True)
        rotate = [*command, "keys", "rotate", "log", "--reason", "own", "--home", str(root), "--json"]
        subprocess.run(rotate, env=where, check=True, capture_output=True)
    return GatewayHome(root)


@contextlib.contextmanager
def as_settings(home: GatewayHome, url: str, issuer: str) -> Iterator[None]:
    """The node's settings for what reads them in this process: commands and tokens."""
    file = home.root / "gateway.toml"
    before = file.read_text("utf-8")
    file.write_text(
        f'format = 1\n[state]\nurl = "{url}"\n[control]\nissuer = "{issuer}"\n[ledger]\norigin = "behind/node-1"\n',
        "utf-8",
    )
    try:
        yield
    finally:
        file.write_text(before, "utf-8")


def test_fresh_clients_get_tokens_and_answers_at_once(house: House) -> None:
    """The SDK: two token requests at most (the first tells the nonce), then one a call; none is refused."""
    counted: Counter[str] = Counter()
    calls = 0
    for _ in range(FRESH_CLIENTS):
        with house.fresh_client(counted) as client:
            for _ in range(4):
                assert client.get(house.path).status_code == 200
                calls += 1
    assert counted["token-request"] <= 2 * FRESH_CLIENTS
    assert counted["sent"] == counted["call"] == calls, "no call was sent twice"


def test_both_nodes_serve_the_calls(house: House) -> None:
    """The front does spread them: records of calls one after another stand in both nodes' logs."""
    with house.fresh_client() as client:
        runs = {client.get(house.path).headers["Sharing-Record"].rpartition("-")[0] for _ in range(12)}
    assert len(runs) >= 2


def test_curl_with_a_nonce_of_one_node_and_a_replay_at_the_other(house: House) -> None:
    """By hand: the first answer's nonce serves everywhere; a proof or assertion used once is used up everywhere."""
    key, endpoint = ClientKey(house.key), f"{house.control}/oauth/token"

    def ask(nonce: str | None, assertion: str) -> tuple[int, dict[str, str], Any]:
        proof = key.proof("POST", endpoint, int(time.time()), nonce=nonce, token=None)
        form = ["grant_type=client_credentials", f"client_id={SYSTEM}", f"client_assertion={assertion}"]
        form.append("client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
        data = [part for each in form for part in ("--data-urlencode", each)]
        return curl("-H", f"DPoP: {proof}", *data, endpoint, authority=house.authority)

    def assertion() -> str:
        return key.assertion(SYSTEM, endpoint, int(time.time()))

    status, fields, answer = ask(None, assertion())
    assert (status, answer["error"]) == (400, "use_dpop_nonce")
    used, nonce = assertion(), fields["dpop-nonce"]
    status, fields, answer = ask(nonce, used)
    assert status == 200, answer
    token = answer["access_token"]
    for _ in range(4):
        status, _, refused = ask(nonce, used)
        assert (status, refused["error"]) == (401, "invalid_client")
    for _ in range(4):
        url = house.data_plane + house.path
        target = url.partition("?")[0]
        proof = key.proof("GET", target, int(time.time()), nonce=fields["dpop-nonce"], token=token)
        call = ["-H", f"Authorization: DPoP {token}", "-H", f"DPoP: {proof}", "-H", f"Sharing-Purpose: {PURPOSE}", url]
        statuses = [curl(*call, authority=house.authority)[0] for _ in range(4)]
        assert statuses == [200, 401, 401, 401], "replayed at the other node, or at the same"


def test_act_repeated_at_the_other_node_is_done_once(house: House) -> None:
    """Under one `Idempotency-Key` each repetition is given the first answer, whichever node it meets."""
    stop = {"violation": "beyond the purpose", "rectify_by": "2099-01-31"}
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    with house.officer("police-chen") as officer:
        answers = [officer.post("/v1/grants/G-2026-0001/suspension", json=stop, headers=headers) for _ in range(4)]
        lifted = officer.post("/v1/grants/G-2026-0001/suspension/lift", json={"reason": "rectified"})
    assert {answer.status_code for answer in answers} == {answers[0].status_code}
    assert len({answer.json()["record"] for answer in answers}) == 1
    assert lifted.is_success, lifted.text


def test_records_and_their_pages_are_found_through_either_node(house: House) -> None:
    """A record of one node is shown and proven through both; a cursor goes on where it began, without gap or double."""
    with house.fresh_client() as client:
        records = [client.get(house.path).headers["Sharing-Record"] for _ in range(12)]
    with house.officer() as officer:
        for record in records[:4]:
            assert wait_for(lambda record=record: officer.get(f"/v1/records/{record}").status_code == 200, 20)
            for _ in range(4):
                shown = officer.get(f"/v1/records/{record}")
                assert shown.status_code == 200, shown.text
                assert officer.get(f"/v1/records/{record}/proof").status_code == 200
        assert officer.get("/v1/records/20260101T000000Zabc-1").status_code in {400, 404}
        for _ in range(2):
            answer = officer.get("/v1/records", params={"limit": 1, "kind": "use"}).json()
            seen = [row["record"] for row in answer["items"]]
            while answer["next"] and len(seen) < 8:
                page = officer.get("/v1/records", params={"limit": 1, "kind": "use", "cursor": answer["next"]})
                assert page.status_code == 200, page.text
                answer = page.json()
                seen += [row["record"] for row in answer["items"]]
            assert len(seen) == len(set(seen)) >= 3


def test_export_is_fetched_through_either_node(house: House) -> None:
    """Made by one node, watched and fetched through both; its file and manifest are the same each time."""
    with house.officer() as officer:
        made = officer.post("/v1/records/export", json={"format": "ndjson"}, headers={"Prefer": "respond-async"})
        assert made.status_code == 202, made.text
        watch = made.json()["progress"]
        assert wait_for(lambda: officer.get(watch).status_code == 201, 30)
        finished = officer.get(watch).json()
        for address in (finished["file"], finished["manifest"], watch):
            answers = [officer.get(address) for _ in range(4)]
            assert [answer.status_code for answer in answers] in ([200] * 4, [201] * 4)
            assert len({answer.content for answer in answers}) == 1


def accounts(person: httpx.Client, token: str) -> list[int]:
    """What the own account is answered with four times, at both nodes."""
    return [person.get("/v1/account", headers={"Authorization": f"Bearer {token}"}).status_code for _ in range(4)]


def test_person_signed_in_at_one_node_is_signed_in_at_both(house: House) -> None:
    """A code is used up everywhere, each session holds at both nodes and ends at both; so does the account's end."""
    with house.officer(REGISTRAR) as registrar, house.browser() as person:
        made = registrar.post("/v1/officers/civil-wu/enrolment")
        assert made.status_code == 201, made.text
        body = {"officer": "civil-wu", "code": made.json()["code"], "password": PASSWORD}
        tokens = [person.post("/sign-in/enrolment", json=body).json()["access_token"]]
        assert [person.post("/sign-in/enrolment", json=body).status_code for _ in range(2)] == [401, 401]
        named = {"officer": "civil-wu", "password": PASSWORD}
        tokens += [person.post("/sign-in", json=named).json()["access_token"] for _ in range(4)]
        for token in tokens:
            assert accounts(person, token) == [200] * 4
        bearer = {"Authorization": f"Bearer {tokens[1]}"}
        assert person.post("/v1/account/sign-out", json={"everywhere": False}, headers=bearer).is_success
        assert accounts(person, tokens[1]) == [401] * 4
        assert accounts(person, tokens[2]) == [200] * 4
        bearer = {"Authorization": f"Bearer {tokens[2]}"}
        assert person.post("/v1/account/sign-out", json={"everywhere": True}, headers=bearer).is_success
        assert [accounts(person, token) for token in tokens] == [[401] * 4] * 5


def test_sign_in_by_a_provider_begins_at_one_node_and_ends_at_the_other(house: House) -> None:
    """To the provider by one node, back by the other, in both orders; the session holds at both."""
    for turn in range(2):
        with house.browser() as person:
            for _ in range(turn):
                person.get("/healthz")
            away = person.get("/sign-in/provider", params={"return_to": "/v1/records"})
            assert away.status_code == 303, away.text
            form = {"user": AUDITOR, "password": PASSWORD}
            with httpx.Client(trust_env=False, timeout=30) as elsewhere:
                elsewhere.get(away.headers["Location"])
                back = elsewhere.post(away.headers["Location"], data=form).headers["Location"]
            answer = person.get(back)
            assert (answer.status_code, answer.headers.get("Location")) == (303, "/v1/records"), answer.text
            token = next(value for name, value in person.cookies.items() if name.endswith(SESSION_COOKIE))
            assert accounts(person, token) == [200] * 4
