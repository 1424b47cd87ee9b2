"""Client and gateway of different versions: the last three clients at this gateway, this client at the last three.

Older clients stand packed in `older/clients` and run whole. Of older gateways there is what they answered this client,
in `older/answers`. A release adds one of each, from a checkout of it at SOURCE:

    git archive RELEASE gateway/__init__.py gateway/client | xz -9 > tests/deploy/older/clients/RELEASE.tar.xz
    python -m tests.deploy.test_older_clients SOURCE RELEASE
"""

import contextlib
import http.server
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.client import new_private_key
from gateway.runtime.demo.story import PURPOSE, SYSTEM
from tests.support.gateways import RunningGateway, running_gateway

ROOT = Path(__file__).parents[2]
OLDER = Path(__file__).parent / "older"
CLIENTS = sorted((OLDER / "clients").glob("*.tar.xz"))
ANSWERS = sorted((OLDER / "answers").glob("*.json"))
SUSPENDED = "/civil-affairs/marriages"
REFUSALS = [
    ("purpose-not-granted", "NotGranted"),
    ("interface-unknown", "NotServed"),
    ("items-unknown", "CallMalformed"),
    ("suspended", "SharingStopped"),
]


def facts_of(endpoint: str, data_plane: str, key: str, person: str) -> dict[str, Any]:
    """What `older/call.py` is told: two calls that are answered, and one for each of `REFUSALS`."""
    persons = {"method": "GET", "url": "/public-security/persons", "params": {"id_number": person}}
    return {
        "endpoint": endpoint,
        "data_plane": data_plane,
        "system": SYSTEM,
        "key": key,
        "purpose": PURPOSE,
        "calls": [
            persons,
            {**persons, "headers": {"Sharing-Items": "name"}},
            {**persons, "headers": {"Sharing-Purpose": "another"}},
            {**persons, "url": "/nobody/nothing"},
            {**persons, "headers": {"Sharing-Items": "no-such-item"}},
            {**persons, "url": SUSPENDED},
        ],
    }


def suspend(gateway: RunningGateway) -> None:
    with gateway.officer("civil-wu") as api:
        stop = {"violation": "beyond the purpose", "rectify_by": "2099-01-31"}
        api.post("/v1/grants/G-2026-0002/suspension", stop)


def told(facts: dict[str, Any], path: Path) -> list[Any]:
    """What the client that stands at `path` makes of it."""
    done = subprocess.run(
        [sys.executable, str(OLDER / "call.py"), json.dumps(facts)],
        env={**os.environ, "PYTHONPATH": str(path)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    place, *rest = json.loads(done.stdout)
    assert Path(place).is_relative_to(path), "another client than the one meant"
    return rest


def hold_to_what_was_promised(outcomes: list[Any], name: str | None) -> None:
    """Answers with their record; refusals by code and by the class that developers catch."""
    assert [set(each) for each in outcomes[:2]] == [{"answer", "record"}] * 2
    if name is not None:
        assert [outcome["answer"]["data"][0]["name"] for outcome in outcomes[:2]] == [name] * 2
    assert list(outcomes[1]["answer"]["data"][0]) == ["name"]
    assert [outcome["code"] for outcome in outcomes[2:]] == [code for code, _ in REFUSALS]
    for outcome, (_, kind) in zip(outcomes[2:], REFUSALS, strict=True):
        assert kind in outcome["class"]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with running_gateway(tmp_path_factory.mktemp("now") / "var") as running:
        suspend(running)
        yield running


@pytest.mark.deep
@pytest.mark.parametrize("packed", CLIENTS, ids=lambda path: path.name.partition(".")[0])
def test_older_client_is_served(gateway: RunningGateway, tmp_path: Path, packed: Path) -> None:
    """The client of then, at the gateway of now: what its developers built upon is still so."""
    with tarfile.open(packed) as tar:
        tar.extractall(tmp_path, filter="data")
    person = gateway.population.persons[3]
    facts = facts_of(f"{gateway.control}/oauth/token", gateway.data_plane, gateway.key, person["id_number"])
    hold_to_what_was_promised(told(facts, tmp_path), person["name"])


@contextlib.contextmanager
def answering(recorded: list[dict[str, Any]]) -> Iterator[str]:
    """A server that gives token answers and others as they were recorded, each in its order."""
    waiting = {kind: [each for each in recorded if each["is_token"] is kind] for kind in (True, False)}

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = waiting[self.path == "/oauth/token"].pop(0)
            self.send_response_only(answer["status"])
            for field, value in answer["headers"]:
                self.send_header(field, value)
            self.end_headers()
            self.wfile.write(answer["content"].encode("utf-8"))

        do_POST = do_GET  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
        assert waiting == {True: [], False: []}, "the client asked less than it did then"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("recorded", ANSWERS, ids=lambda path: path.stem)
def test_this_client_understands_an_older_gateway(recorded: Path) -> None:
    """What gateways of then answered is understood as it was, and nothing is asked twice that was asked once."""
    with answering(json.loads(recorded.read_text("utf-8"))) as url:
        facts = facts_of(f"{url}/oauth/token", url, new_private_key(), "1")
        hold_to_what_was_promised(told(facts, ROOT), None)


def test_three_of_each_are_kept() -> None:
    """None is lost by and by."""
    assert len(CLIENTS) >= 3
    assert {path.stem for path in ANSWERS} >= {path.name.partition(".")[0] for path in CLIENTS}


def record(source: Path, name: str) -> None:
    """Have this client call a gateway that runs from `source`, and keep what it answered."""
    script = (
        "import json, sys\nfrom pathlib import Path\nfrom tests.support.gateways import running_gateway\n"
        "with running_gateway(Path(sys.argv[1])) as gateway:\n"
        "    with gateway.officer('civil-wu') as api:\n"
        "        stop = {'violation': 'beyond the purpose', 'rectify_by': '2099-01-31'}\n"
        "        api.post('/v1/grants/G-2026-0002/suspension', stop)\n"
        "    person = gateway.population.persons[3]['id_number']\n"
        "    print(json.dumps([gateway.control, gateway.data_plane, gateway.key, person]), flush=True)\n"
        "    sys.stdin.read()\n"
    )
    answers: list[dict[str, Any]] = []
    send = httpx.HTTPTransport.handle_request

    def kept(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        answer = send(self, request)
        content = answer.read()
        is_token, text = request.url.path == "/oauth/token", content.decode("utf-8")
        if is_token and answer.status_code == 200:
            text = json.dumps({**json.loads(text), "access_token": "recorded"})
        fields = [(field, value) for field, value in answer.headers.items() if field not in {"date", "content-length"}]
        fields.append(("content-length", str(len(text.encode("utf-8")))))
        answers.append({"is_token": is_token, "status": answer.status_code, "headers": fields, "content": text})
        return httpx.Response(answer.status_code, headers=fields, content=content, request=request)

    import tempfile  # noqa: PLC0415 - recording only

    from tests.deploy.older import call  # noqa: PLC0415 - recording only

    with tempfile.TemporaryDirectory() as home:
        process = subprocess.Popen(
            [sys.executable, "-c", script, f"{home}/var"],
            cwd=source,
            env={**os.environ, "PYTHONPATH": str(source)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        control, data_plane, key, person = json.loads(process.stdout.readline())
        httpx.HTTPTransport.handle_request = kept  # type: ignore[method-assign]
        call.main(facts_of(f"{control}/oauth/token", data_plane, key, person))
        process.communicate()
    (OLDER / "answers" / f"{name}.json").write_text(json.dumps(answers, ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    record(Path(sys.argv[1]), sys.argv[2])
