"""Homes that older versions left behind go on under the present code: settings, keys, state, ledger and index.

Kept are the packed homes of the first release of each format (`older/`) and of each version that has landed since
(`older/homes`, made by `older/pack.py`). Besides, the version before makes one here and now: the newest tagged release,
or without a tag the commit before the newest change of the state's schema. What each has lived through stands in
`older/live.py`.
"""

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from gateway.client import new_private_key, public_jwk
from gateway.ledger.verify.record import verify_log, verify_record
from gateway.runtime.demo.population import Population
from gateway.runtime.demo.stage import register_hosts
from gateway.runtime.demo.story import SYSTEM
from gateway.runtime.demo.suppliers import register_servers
from gateway.runtime.demo.world import directory_document
from gateway.runtime.home import GatewayHome
from gateway.runtime.settings import FORMAT
from tests.deploy.older.pack import HOMES, SEALED, live, unpack_source
from tests.support.gateways import RunningGateway, wait_for

ROOT = Path(__file__).parents[2]
OLDER = Path(__file__).parent / "older"
SCHEMA = "gateway/store/migrations/versions"
PERSONS, MARRIAGES = "/public-security/persons", "/civil-affairs/marriages"


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.strip() if done.returncode == 0 else ""


def newest_release() -> str | None:
    """The newest tag that is in this clone and is not the very commit under test; else that one; else None."""
    if shutil.which("git") is None:
        return None
    head = git("rev-parse", "HEAD")
    tags = git("tag", "--list", "v*", "--sort=-v:refname").splitlines()
    older = [tag for tag in tags if git("rev-list", "-n", "1", tag) != head]
    return (older or tags or [None])[0]


def older_version() -> str | None:
    """What is upgraded from; None where this is no clone that has any.

    The commit that `UPGRADE_FROM` names, else the newest tagged release, else the commit before the newest change of
    the state's schema.
    """
    if named := os.environ.get("UPGRADE_FROM"):
        return git("rev-parse", named) or None
    if tag := newest_release():
        return tag
    newest = git("log", "-1", "--no-merges", "--format=%H", "--", SCHEMA) if shutil.which("git") else ""
    return git("rev-parse", "--verify", "--quiet", f"{newest}^") or None if newest else None


def go_on_with(home: GatewayHome, lived: dict[str, Any], environment: dict[str, str]) -> None:
    """Serve the home with the present code, and hold it to what the older release had promised."""
    population = Population()
    suppliers = register_servers(population)
    key = new_private_key()
    gateway = RunningGateway(home, lived, population, suppliers, key, environment)
    for supplier in suppliers.values():
        supplier.start()
    try:
        gateway.start()
        upstreams = {id_: server.url for id_, server in suppliers.items()}
        register_hosts(home, upstreams)
        with gateway.officer() as api:
            # The suppliers of then have gone with their ports, and so has the system's key.
            api.post("/v1/directory", directory_document(upstreams))
            api.post(f"/v1/systems/{SYSTEM}/keys", {"key": public_jwk(key)})
        with gateway.client() as client:
            params = {"id_number": population.persons[1]["id_number"]}
            answer = client.get(PERSONS, params=params)
            assert answer.status_code == 200, answer.text
            assert set(answer.json()["data"][0]) == {"name", "birth_date", "address"}
            refused = client.get(MARRIAGES, params=params)
            assert refused.status_code == 403, refused.text
        new = answer.headers["Sharing-Record"]

        def found() -> bool:
            with gateway.officer("auditor-he") as api:
                return {*lived["records"], new} <= {use["record"] for use in api.get("/v1/records", limit=500)["items"]}

        assert wait_for(found, 30), "not every use is found, old and new"
        with gateway.officer("auditor-he") as api:
            proof = api.text(f"/v1/records/{lived['records'][0]}/proof")
        assert verify_record(proof.encode(), lived["verifier_key"]).origin == "sharing-gateway/older"
        with gateway.officer("civil-wu") as api:
            assert api.get("/v1/grants/G-2026-0002")["grant"]["state"] == "suspended"
            standing = {case["id"] for case in api.get("/v1/rectifications")["items"]}
            assert standing >= set(lived.get("rectifications", ()))
            api.post("/v1/grants/G-2026-0002/suspension/lift", {"reason": "rectified"})
        assert gateway.stop() == 0
    finally:
        if gateway.addresses:
            gateway.stop()
        for supplier in suppliers.values():
            supplier.stop()
    # NEVER-FORKED, APPEND-ONLY: one log under one key, from its first leaf of then to the last of now.
    assert verify_log(home.ledger, lived["verifier_key"]).size > lived["size"]


@pytest.mark.deep
@pytest.mark.parametrize("form", range(1, FORMAT + 1))
def test_home_of_each_format_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: int) -> None:
    """What the first release of a format left behind is served: uses found and proven, orders in force, the log one."""
    sealed = {"GATEWAY_PASSPHRASE": f"format-{form}", "GATEWAY_LEDGER__ORIGIN": "sharing-gateway/older"}
    go_on_with_packed(OLDER / f"format-{form}.tar.xz", tmp_path, sealed, monkeypatch)


@pytest.mark.deep
@pytest.mark.parametrize("kept", sorted(HOMES.iterdir()), ids=lambda kept: kept.name.partition(".")[0])
def test_home_of_each_landed_version_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: Path) -> None:
    """The same of every version that has landed: through each schema of the state between then and now."""
    go_on_with_packed(kept, tmp_path, SEALED, monkeypatch)


def go_on_with_packed(kept: Path, folder: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpack a home and go on with it."""
    root = folder / "home"
    with tarfile.open(kept) as packed:
        packed.extractall(root, filter="data")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    go_on_with(GatewayHome(root), json.loads((root / "lived.json").read_text("utf-8")), environment)


@pytest.mark.deep
def test_home_of_the_version_before_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The release itself makes the home, with the packages that are installed here; the present code takes it over."""
    release = older_version()
    if release is None:
        pytest.skip("this is no clone with an older version to upgrade from")
    source = tmp_path / "source"
    source.mkdir()
    unpack_source(release, source)
    monkeypatch.setenv("GATEWAY_LEDGER__ORIGIN", "sharing-gateway/older")
    root = tmp_path / "home"
    go_on_with(GatewayHome(root), live(source, root, {}), {})
