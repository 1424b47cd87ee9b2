"""A home is its owner's alone, whatever umask the gateway was started under, while it works and afterwards."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.runtime.demo.world import REGION
from gateway.runtime.home import GatewayHome
from gateway.runtime.start.modes import open_files
from tests.support.deploy_tools import ROOT
from tests.support.gateways import served_home

pytestmark = pytest.mark.deep


def test_home_at_work_under_umask_0_is_private(tmp_path: Path) -> None:
    """Init, serve, uses, an export and a backup under umask 0: nothing in home or backup is open to anyone else."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def gateway(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *arguments], env=environment, capture_output=True, check=True, text=True
        )
        return done.stdout

    before = os.umask(0)
    try:
        where = ("--region", REGION, "--department", "data-bureau")
        made = json.loads(gateway("init", str(tmp_path / "home"), *where, "--json"))
        home = GatewayHome(tmp_path / "home")
        with served_home(home, made) as house:
            person = house.population.marriages[0]["wife"]["id_number"]
            with house.client() as client:
                assert client.get("/civil-affairs/marriages", params={"id_number": person}).status_code == 200
            out = tmp_path / "uses.ndjson"
            gateway("records", "export", str(out), "--as", "competent-lin", "--home", str(home.root))
            gateway("backup", str(tmp_path / "backup"), "--home", str(home.root))
            at_work = [path for path in open_files(home.root) if path.exists() and path != house.log]
            assert at_work == []
        assert [path for path in open_files(home.root) if path != house.log] == []
        assert open_files(tmp_path / "backup") == []
        assert open_files(out) == []
    finally:
        os.umask(before)
