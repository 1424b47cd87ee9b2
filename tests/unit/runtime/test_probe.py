"""Probes ask over a socket of the home: no port, no certificate, no name, and nothing of the house is loaded."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.runtime.control.readiness import answer_probes
from gateway.runtime.probe import probe_socket


async def probed(home: Path, parts: dict[str, bool], word: str) -> tuple[int, str]:
    probe_socket(home).parent.mkdir(exist_ok=True)
    server = await answer_probes(probe_socket(home), lambda: parts)
    async with server:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway.runtime.probe", word, str(home)), stderr=asyncio.subprocess.PIPE
        )
        _, said = await program.communicate()
    return program.returncode or 0, said.decode()


def test_probe_says_ready_live_and_what_fails(tmp_path: Path) -> None:
    """A gateway that lives but cannot record is live and not ready; one that is gone is neither."""
    whole, broken = {"state": True, "records": True}, {"state": True, "records": False}
    assert asyncio.run(probed(tmp_path, whole, "ready")) == (0, "")
    assert asyncio.run(probed(tmp_path, broken, "live"))[0] == 0
    assert asyncio.run(probed(tmp_path, broken, "ready")) == (1, "not ready: records\n")
    gone = subprocess.run(
        [sys.executable, "-m", "gateway.runtime.probe", "live", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert gone.returncode == 1
    assert "does not answer" in gone.stderr


def test_probe_loads_nothing_of_the_house() -> None:
    """It is asked every two seconds: what it imports is paid each time."""
    script = "import sys; import gateway.runtime.probe; print([n for n in sys.modules if n.startswith('gateway')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "['gateway', 'gateway.runtime', 'gateway.runtime.probe']"


@pytest.mark.deep
def test_status_and_probe_with_a_certificate_of_a_foreign_name(tmp_path: Path) -> None:
    """A private authority, and the host's public name: `status` and the probe say ready all the same."""
    from tests.support.certificates import Authority  # noqa: PLC0415 -- the deep test's alone
    from tests.support.gateways import running_gateway, wait_for  # noqa: PLC0415 -- the same

    certificate = Authority().write("share.example.gov.cn", tmp_path / "control.pem")
    with running_gateway(tmp_path / "var") as gateway:
        gateway.stop()
        text = gateway.home.settings_file.read_text("utf-8")
        named = f'[control]\ntls_certificate = "{certificate}"'
        gateway.home.settings_file.write_text(text.replace("[control]", named), "utf-8")
        gateway.start()

        def ask(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", *words], capture_output=True, text=True, check=False, timeout=60
            )

        root = str(gateway.home.root)
        assert wait_for(lambda: ask("gateway.runtime.probe", "ready", root).returncode == 0, 30)
        seen = ask("gateway", "status", "--home", root)
        assert "a use can be served" in seen.stdout
