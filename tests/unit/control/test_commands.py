"""The commands over the control API, what they print, and how they fail."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.control.act.examples import DATASET, DEPARTMENT, DERIVATION, GRANT, SYSTEM
from gateway.domain.errors import GatewayError
from gateway.policy.law.layers import read_set
from gateway.runtime.operation.session.api import Api
from gateway.store.directory.file import DirectoryFile
from tests.policies.layering import note, root_with
from tests.support.control import ISSUER, World


class Commands:
    """`gateway …` as one officer; the control API is served in this process, once for all commands."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._runner = CliRunner()

    def __call__(self, *words: object, fails: bool = False, officer: str = "registrar") -> Result:
        result = self._runner.invoke(app, [*map(str, words), "--as", officer])
        assert (result.exit_code != 0) == fails, result.output
        return result

    def json(self, *words: object, fails: bool = False, officer: str = "registrar") -> Any:
        return json.loads(self(*words, "--json", fails=fails, officer=officer).stdout)


@pytest.fixture
def gateway(world: World, monkeypatch: pytest.MonkeyPatch) -> Commands:
    @contextmanager
    def open_here(_home: Path, officer: str | None = None, *, otherwise: str = "registrar") -> Iterator[Api]:
        headers = {"Authorization": f"Bearer {commands.world.token(officer or otherwise)}"}
        transport = httpx.ASGITransport(app=commands.world.app, raise_app_exceptions=False)
        client = httpx.AsyncClient(base_url=ISSUER, headers=headers, transport=transport)
        with Api(client, asyncio.Runner()) as api:
            yield api

    commands = Commands(world)
    # By name: in `gateway.cli` the groups of commands stand under their modules' names.
    for name in (
        "grants.acts",
        "grants.issuing",
        "grants.reading",
        "orders",
        "directory",
        "departments",
        "hosts",
        "policies.activation",
        "policies.bundles",
        "certificates",
        "credentials",
        "interfaces",
        "systems",
        "records",
        "retention",
    ):
        monkeypatch.setattr(sys.modules[f"gateway.cli.{name}"], "open_api", open_here)
    return commands


def written(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), "utf-8")
    return path


def test_grants_life_by_commands(gateway: Commands, make_world: Callable[..., World], tmp_path: Path) -> None:
    """Issue, show, suspend, lift, close, dispose: each one sentence or one JSON document."""
    gateway.world = make_world(ledger=True)
    issued = gateway.json("grants", "issue", written(tmp_path / "g.json", {**GRANT, "id": "life"}))
    assert issued["grant"]["state"] == "issued"
    stopped = gateway("grants", "suspend", "life", "--violation", "found", "--rectify-by", "2099-01-01")
    assert "is suspended; effective everywhere after" in stopped.stdout
    assert gateway.json("grants", "show", "life")["standing"] == "suspended"
    assert [grant["id"] for grant in gateway.json("grants", "list", "--state", "suspended")["items"]] == ["life"]
    gateway("grants", "lift", "life", "--reason", "rectified")
    done = ("grants", "close", "life", "--outcome", "achieved", "--reason", "done")
    assert "may not `close`" in gateway(*done, fails=True).stderr
    assert "disposal is due" in gateway(*done, officer="civil").stdout
    destroyed = ("--method", "erased", "--destroyed-on", "2026-01-01", "--by", "data centre")
    assert "is disposed" in gateway("grants", "dispose", "life", *destroyed, officer="civil").stdout


def test_issue_lists_every_fault_of_a_file_and_issues_nothing(gateway: Commands, tmp_path: Path) -> None:
    """A file of many grants is checked whole before anything is issued; rows count from the file's first grant."""
    rows = [{**GRANT, "id": f"many-{number}"} for number in range(620)]
    rows[510] = {**rows[510], "items": ["nonsense"]}
    rows[619] = {**rows[619], "id": "many-3"}
    file = tmp_path / "many.ndjson"
    file.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    refused = gateway.json("grants", "issue", file, fails=True)
    assert [(fault["row"], fault["field"]) for fault in refused["faults"]] == [(511, "items"), (620, "id")]
    assert gateway.json("grants", "list")["items"] == []
    file.write_text("\n".join(json.dumps(row) for row in rows[:505]), "utf-8")
    assert gateway.json("grants", "issue", file)["issued"] == 505
    assert gateway.json("grants", "issue", file, "--resume")["issued"] == 505, "what stands is not repeated"


def test_policies_by_two_persons_and_as_a_bundle(
    gateway: Commands, make_world: Callable[..., World], tmp_path: Path
) -> None:
    """One proposes, nobody approves the own proposal, another does; the set goes to a folder elsewhere as it was."""
    world = gateway.world = make_world(ledger=True)
    world.services.policies.two_persons = True
    first = world.store.officer("province")
    assert first is not None
    with world.store.transaction() as tx:
        tx.put_officer(msgspec.structs.replace(first, id="province-second"))
    root = root_with(
        tmp_path, city=note("city-rule") + 'forbid (principal is Officer, action == Action::"settle", resource);'
    )
    asked = (root, "--layers", "national,city", "--reason", "a trial", "--revives")
    assert "approve 1" in gateway("policies", "activate", *asked, officer="province").stdout
    told = gateway("policies", "approve", 1, officer="province", fails=True).stderr
    assert "rule: Who proposed policies is not who approves them (national-art8-policies-two-persons)" in told
    assert "sound" in gateway("policies", "approve", 1, "--dry-run", officer="province-second").stdout
    assert world.store.policies_in_force() is None
    assert "in force: national + city" in gateway("policies", "approve", 1, officer="province-second").stdout
    assert "it is `activate`" in gateway("policies", "approve", 3, officer="province-second", fails=True).stderr
    file, elsewhere = tmp_path / "set.json", tmp_path / "elsewhere"
    told = gateway("policies", "export", file, "--number", 1, officer="auditor", fails=True).stderr
    assert "step 1 is `propose`: it put no policies in force" in told
    gateway("policies", "export", file, officer="auditor")
    assert "is there already" in gateway("policies", "export", file, officer="auditor", fails=True).stderr
    taken = CliRunner().invoke(
        app, ["policies", "import", str(file), "--key", world.ledger_key, "--root", str(elsewhere)]
    )
    assert (taken.exit_code, "activate by province-second: -" in taken.stdout) == (0, True), taken.output
    assert read_set(elsewhere, ("national", "city")).id == read_set(root, ("national", "city")).id
    again = CliRunner().invoke(
        app, ["policies", "import", str(file), "--key", world.ledger_key, "--root", str(elsewhere)]
    )
    assert (again.exit_code, "is not empty" in again.stderr) == (1, True)


def test_directory_goes_out_and_comes_back(gateway: Commands, tmp_path: Path) -> None:
    """What is exported imports to the same: nothing changes."""
    gateway("directory", "export", tmp_path / "out.json")
    again = gateway.json("directory", "import", tmp_path / "out.json")
    assert (again["datasets"], again["unchanged_datasets"]) == (0, 1)
    gateway("directory", "export", tmp_path / "out.dcat.json", "--dcat")
    assert "dcat:dataset" in (tmp_path / "out.dcat.json").read_text("utf-8")
    gateway("directory", "export", tmp_path / "out.json", fails=True)


def test_a_directory_file_goes_in_only_as_long_as_it_is_as_it_was_read(gateway: Commands, tmp_path: Path) -> None:
    """The tag of an export, of a check and of an import go with `--if-match`; another officer's change refuses them."""
    file = tmp_path / "out.json"
    tag = gateway.json("directory", "export", file)["etag"]
    checked = gateway.json("directory", "import", file, "--check", "--if-match", tag)
    assert checked["etag"] == tag
    assert f"etag {tag}" in gateway("directory", "import", file, "--if-match", f'"{tag}"').stdout
    purpose = {"purposes": [{"id": "marriage-registration", "name": "改名"}]}
    changed = gateway.json("directory", "import", written(tmp_path / "p.json", purpose), officer="province")
    refusal = gateway.json("directory", "import", file, "--if-match", tag, fails=True, officer="province")
    assert refusal["type"] == "/problems/precondition-failed"
    gateway("directory", "import", tmp_path / "p.json", "--if-match", changed["etag"], officer="province")


def test_an_act_whose_answer_was_lost_is_asked_for_again_under_its_key(world: World) -> None:
    """The second asking gets the first one's answer, so that the import is made once and told of."""
    sent: list[str] = []
    replayed: list[bool] = []

    class Losing(httpx.ASGITransport):
        """Does what is asked and loses the first answer."""

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await super().handle_async_request(request)
            sent.append(request.headers["Idempotency-Key"])
            replayed.append("Idempotency-Replayed" in answer.headers)
            if len(sent) == 1:
                raise httpx.ReadError("lost", request=request)
            return answer

    headers = {"Authorization": f"Bearer {world.token('registrar')}"}
    client = httpx.AsyncClient(base_url=ISSUER, headers=headers, transport=Losing(world.app))
    with Api(client, asyncio.Runner(), again_seconds=(0, 0)) as api:
        answer, tag = api.post_once("/v1/directory", {"departments": [DEPARTMENT]})
        assert (answer["departments"], bool(tag)) == (1, True)
        assert replayed == [False, True]
        assert len(set(sent)) == 1
        api.post_once("/v1/directory", {"departments": [DEPARTMENT]})
    assert len(set(sent)) == 2, "another command has another key"


@pytest.mark.parametrize(("fault", "times"), [(httpx.ConnectError("nobody"), 1), (httpx.ReadError("lost"), 3)])
def test_nobody_is_asked_again_and_again(fault: httpx.TransportError, times: int) -> None:
    """What was never sent is not sent again; what is lost time after time is a failure in the end."""
    sent: list[str] = []

    def lose(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["Idempotency-Key"])
        raise fault

    client = httpx.AsyncClient(base_url=ISSUER, transport=httpx.MockTransport(lose))
    with Api(client, asyncio.Runner(), again_seconds=(0, 0)) as api, pytest.raises(GatewayError, match="unavailable"):
        api.post_once("/v1/retention", {"plan": "0" * 64})
    assert len(sent) == times


def test_an_entry_is_examined_and_its_interface_confirmed(gateway: Commands, tmp_path: Path) -> None:
    """Submit, read the diff with the grants it names, reject or release, withdraw; derive an interface and register."""
    gateway.world.grant()
    entry = {**DATASET, "items": DATASET["items"][:2]}
    gateway("directory", "import", written(tmp_path / "d.json", {"datasets": [entry]}), "--submit-only")
    said = gateway("directory", "diff", DATASET["id"], 2).stdout
    assert "grant `g-2026-0001` of civil-affairs would lose items marital_status" in said
    gateway("directory", "reject", DATASET["id"], 2, "--reason", "a grant needs the item")
    again = written(tmp_path / "again.json", {"datasets": [{**DATASET, "name": "户籍人口"}]})
    gateway("directory", "import", again, "--submit-only")
    shown = gateway.json("directory", "show", DATASET["id"])
    assert [each["state"] for each in shown["versions"]] == ["released", "rejected", "submitted"]
    assert "0 of 1 standing grants would lose" in gateway("directory", "diff", DATASET["id"], 3).stdout
    tag = ("--if-match", shown["etag"])
    assert "is released" in gateway("directory", "release", DATASET["id"], 3, *tag).stdout
    refused = gateway.json("directory", "withdraw", DATASET["id"], "--reason", "x", *tag, fails=True)
    assert refused["type"] == "/problems/precondition-failed"

    document = written(tmp_path / "openapi.json", DERIVATION["openapi"])
    proposed = ("--path", "/persons", "--dataset", DATASET["id"], "--id", "persons", "--out", tmp_path / "i.json")
    assert "marital_status" in gateway("directory", "derive", document, *proposed).stdout
    assert gateway.world.store.any_interface("public-security", "persons") is None
    assert "--untried" in gateway("directory", "register", tmp_path / "i.json", officer="police", fails=True).stderr
    gateway("directory", "register", tmp_path / "i.json", "--untried", officer="police")
    assert gateway.world.store.any_interface("public-security", "persons") is not None
    gateway("directory", "withdraw", DATASET["id"], "--reason", "the matter was abolished")
    assert gateway.world.store.dataset(DATASET["id"]) is None


def test_an_entry_of_a_class_that_nobody_defined_is_mended(gateway: Commands) -> None:
    """Stored before classes were closed, it gives nothing; released anew in the same words it gives what it gave."""
    world = gateway.world
    world.grant()
    old = world.store.dataset(DATASET["id"])
    assert old is not None
    with world.store.transaction() as tx:
        tx.import_directory(
            DirectoryFile(datasets=(msgspec.structs.replace(old, classification="户籍", grade=9),)), release=True
        )
    listed = gateway.json("directory", "mend")["items"]
    assert [(each["id"], each["classification"], each["grade"]) for each in listed] == [(DATASET["id"], "户籍", 9)]
    mend = ("directory", "mend", DATASET["id"], "--class", "population")
    assert gateway(*mend, fails=True)
    assert gateway(*mend, "--grade", "3", fails=True)
    gateway.json(*mend, "--grade", "3", "--revives")
    now = world.store.dataset(DATASET["id"])
    assert now is not None
    assert (now.classification, now.grade, now.items, now.scope) == ("population", 3, old.items, old.scope)
    assert gateway.json("directory", "mend")["items"] == []
    assert gateway(*mend, fails=True)


def test_renewal_overdue_and_reports(gateway: Commands, tmp_path: Path) -> None:
    """A grant is renewed over what was read; an emergency's report is listed as overdue until it is filed."""
    gateway.world.grant()
    tag = ("--if-match", gateway.json("grants", "show", "g-2026-0001")["etag"])
    approved = {"person": "li-ming", "at": "2026-01-05T09:00:00+08:00", "reference": "民函〔2026〕1号"}
    supplied = {**approved, "person": "wang-fang"}
    body = {**GRANT, "demand_approval": approved, "supply_approval": supplied}
    assert "version 2" in gateway("grants", "renew", written(tmp_path / "v2.json", body), *tag).stdout
    again = gateway.json("grants", "renew", tmp_path / "v2.json", *tag, fails=True)
    assert again["type"] == "/problems/precondition-failed"
    incident = ("--incident", "a workstation was stolen", "--report-due", "2026-01-01")
    order = gateway.json("grants", "suspend", "g-2026-0001", *incident)["order"]["id"]
    assert order in gateway("grants", "overdue").stdout
    assert "is reported" in gateway("orders", "report", order, "--reference", "网安报〔2026〕11号").stdout
    assert gateway.json("grants", "overdue")["reports"] == []
    assert gateway.json("grants", "list", "--state", "active")["items"] == []


def test_systems_keys_and_orders(gateway: Commands) -> None:
    """Keys are shown and withdrawn, an order stops a system and is lifted."""
    assert [each["id"] for each in gateway.json("systems", "list")["items"]] == ["marriage-registry"]
    stopped = gateway.json(
        "orders", "issue", "system", "marriage-registry", "--kind", "emergency", "--reason", "leaked key"
    )
    order = stopped["order"]["id"]
    assert gateway.json("orders", "show", order)["report_due"]
    gateway("orders", "lift", order, "--reason", "key withdrawn")
    gateway("systems", "key", "marriage-registry", "--withdraw", SYSTEM["keys"][0]["kid"])
    assert gateway.json("systems", "key", "marriage-registry")["keys"] == []
    assert "revoked" in gateway("systems", "revoke", "marriage-registry", "--reason", "replaced").stdout


@pytest.mark.parametrize(
    "words",
    [
        ("grants", "show", "no-such-grant"),
        ("grants", "issue", "/no/such/file.json"),
        ("systems", "add", "x", "--department", "nobody"),
        ("orders", "lift", "o-1", "--reason", "x"),
        ("records", "find"),
        ("records", "export", "/tmp/x.docx"),
    ],
)
def test_failures_are_one_sentence_and_exit_status_1(gateway: Commands, words: tuple[str, ...]) -> None:
    """A clear sentence and what to do, never a traceback; a problem document with --json."""
    said = gateway(*words, fails=True)
    assert said.exit_code == 1
    assert said.stderr.startswith("gateway: ")
    assert "Traceback" not in said.output
    assert gateway.json(*words, fails=True)["type"].startswith("/problems/")


def test_lifecycle_is_printed(gateway: Commands) -> None:
    """The state table needs no gateway."""
    result = CliRunner().invoke(app, ["grants", "lifecycle"])
    assert result.exit_code == 0
    assert "Decree 809 Art. 27 ¶2" in result.stdout
    regional = CliRunner().invoke(app, ["grants", "lifecycle", "--layer", "national", "--layer", "zhongshan", "--json"])
    assert {"supply department"} <= {power["who"] for power in json.loads(regional.stdout)[0]["who"]}


def test_a_report_needs_no_extra(
    gateway: Commands, make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where matplotlib is not installed there are tables and a sentence about the plots; asked for, they fail."""
    gateway.world = make_world(ledger=True)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    told = gateway("records", "report", tmp_path / "june", officer="auditor")
    assert "no plots" in told.stderr
    assert {file.suffix for file in (tmp_path / "june").iterdir()} == {".csv"}
    asked = gateway("records", "report", tmp_path / "july", "--plots", "svg", officer="auditor", fails=True)
    assert "install the extra `plots`" in asked.stderr
