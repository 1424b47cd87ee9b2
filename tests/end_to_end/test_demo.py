"""The demo tells its story to the end, leaves nothing behind, and the README shows what it really prints."""

import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
DEMO = [sys.executable, "-m", "gateway", "demo"]


def _left_running(marker: str) -> list[str]:
    """Command lines of living processes that name `marker`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if marker in line and entry.parent.name != str(os.getpid()):
            found.append(line)
    return found


def _stable(text: str) -> str:
    """`text` without what differs from run to run: times, counts of leaves, and the host's name in the origin."""
    text = re.sub(r"\d+ (ms|records|leaves)", r"N \1", text)
    return re.sub(r"sharing-gateway/[^`]+", "sharing-gateway/HOST", text)


def test_the_story_goes_as_told_and_is_the_one_the_readme_shows(tmp_path: Path) -> None:
    """`make demo ONCE=1` ends with status 0 only if every step went as told, and leaves nothing running."""
    home = tmp_path / "demo"
    told = subprocess.run(
        [*DEMO, "--once", "--home", str(home)], capture_output=True, text=True, timeout=110, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr
    block = re.search(r"```text\n(.*?)\n```", README, re.DOTALL)
    assert block is not None
    assert _stable(told.stdout.strip()) == _stable(block.group(1).strip())
    assert _left_running(str(home)) == []


def test_the_demo_keeps_running_until_it_is_stopped_and_its_curl_works(tmp_path: Path) -> None:
    """Without ONCE=1 it prints addresses and a call to try; SIGTERM ends it whole."""
    folder = tmp_path / "demo"
    output = (tmp_path / "output").open("w+b")
    process = subprocess.Popen([*DEMO, "--home", str(folder)], stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 100
        said = ""
        while "Stop with Ctrl-C" not in said and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.2)
            said = (tmp_path / "output").read_text("utf-8")
        assert "Stop with Ctrl-C" in said, said
        words = shlex.split(re.sub(r"\\\n", " ", said[said.index("curl --noproxy") :].split("Suspend the grant")[0]))
        token = (folder / "token").read_text("utf-8")
        headers = dict(value.split(": ", 1) for flag, value in itertools.pairwise(words) if flag == "-H")
        headers["Authorization"] = f"Bearer {token}"
        answer = httpx.get(words[-1], headers=headers, trust_env=False)
        assert answer.status_code == 200, answer.text
        assert set(answer.json()["data"][0]) == {"status", "registered_on"}
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        output.close()
    assert _left_running(str(folder)) == []


@pytest.mark.deep
def test_a_demo_without_a_home_of_its_own_takes_its_folder_away() -> None:
    """What the demo made in the temporary folder goes at the end."""
    environment = {**os.environ, "TMPDIR": tempfile.mkdtemp()}
    told = subprocess.run(
        [*DEMO, "--once", "--json"], capture_output=True, text=True, timeout=110, env=environment, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert list(Path(environment["TMPDIR"]).glob("gateway-demo-*")) == []
