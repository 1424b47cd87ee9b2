"""What the pages say is so: commands parse, names exist, links lead somewhere, made pages are what the code makes."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
import yaml

import gateway.client
from gateway.cli import app
from gateway.domain.errors import PROBLEMS
from gateway.domain.officers import Role
from gateway.runtime.operation.pages import PAGES
from gateway.runtime.settings import RESERVED, Section, Settings
from gateway.runtime.telemetry.families import FAMILIES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TEXTS = [
    *sorted(DOCS.rglob("*.md")),
    *(
        ROOT / name
        for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "deploy/README.md", "keys/README.md")
    ),
]
SECTIONS = {name: field.default for name, field in Settings.model_fields.items() if isinstance(field.default, Section)}
INVARIANTS = {
    "RECORD-FIRST",
    "ERROR-DENIES",
    "FORBID-WINS",
    "GRANTED-ITEMS-ONLY",
    "BARRIER",
    "STALE-DENIES",
    "APPEND-ONLY",
    "NO-VALUES",
    "NEVER-FORKED",
    "ONE-ANSWER",
    "ONE-MEANING",
    "HOST-OWNED",
    "KNOWN-SHAPE",
    "ONE-TIMELINE",
    "ASKED-AT-COMMIT",
    "POWER-FROM-OFFICE",
    "STOP-REACHES",
}


def blocks(text: str) -> Iterator[str]:
    """Lines of shell shown in a page: fenced as `sh`, or indented by four; continued lines joined."""
    for fenced in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        yield from re.sub(r"\\\n\s*", " ", fenced).splitlines()
    yield from re.findall(
        r"^ {4}(\S.*)$", re.sub(r"\\\n\s*", " ", re.sub(r"```.*?```", "", text, flags=re.DOTALL)), re.MULTILINE
    )


def commands() -> list[tuple[str, str]]:
    """(page, command) of every `gateway …` line and inline code."""
    found = []
    for path in TEXTS:
        if not path.exists():
            continue
        text = path.read_text("utf-8")
        lines = [part.strip() for line in blocks(text) for part in re.split(r"&&|\|", line)]
        lines += re.findall(r"`(gateway [a-z][^`]*)`", text)
        for line in lines:
            words = re.sub(r"^(?:\w+=\S*\s+)+", "", line)
            match = re.search(r"(?:^|/bin/)(gateway (?!serve`).*)$", words)
            if match and not match[1].startswith("gateway ."):
                found.append((path.name, match[1]))
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_command_shown_parses(page: str, line: str) -> None:
    """Each command line of the pages is one that `gateway` takes, with options it has and none missing."""
    words = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(app)
    context = command.make_context("gateway", list(words), resilient_parsing=len(words) < 3 and "--" not in line)
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        if not rest:
            break
        name, command, rest = command.resolve_command(context, rest)
        assert command is not None, f"{page}: {line}"
        # A command named in a sentence need not show what it asks for; one in a block must be whole.
        is_whole = len(words) > 2
        context = command.make_context(name, list(rest), parent=context, resilient_parsing=not is_whole)


@pytest.mark.parametrize("name", PAGES)
def test_page_is_what_the_code_makes(name: str) -> None:
    """`python -m gateway.runtime.operation.pages docs` changes none of them."""
    assert (DOCS / name).read_text("utf-8") == PAGES[name]()


def test_every_problem_code_stands_on_the_page() -> None:
    """Every code has a row, with what to do."""
    rows = re.findall(
        r"^\| `([a-z-]+)` \| \d{3} \| .+ \| .+ \|", (DOCS / "problems.md").read_text("utf-8"), re.MULTILINE
    )
    assert sorted(rows) == sorted(PROBLEMS)


@pytest.mark.parametrize("path", [path for path in TEXTS if path.exists()], ids=lambda path: path.name)
def test_names_in_a_page_exist(path: Path) -> None:
    """Settings, metrics, alerts, invariants, roles, files and environment names that a page mentions."""
    text = path.read_text("utf-8")
    inline = set(re.findall(r"`([^`\n]+)`", text))
    dotted = [name for name in inline if re.fullmatch(rf"(?:{'|'.join(SECTIONS)})\.\w+", name) and name != "state.db"]
    for section, key in (name.split(".") for name in dotted):
        assert key in type(SECTIONS[section]).model_fields, f"{section}.{key}"
    known = {
        f"GATEWAY_{section}__{key}".upper() for section in SECTIONS for key in type(SECTIONS[section]).model_fields
    }
    known |= RESERVED | {"GATEWAY_LOG_KEY"}
    assert {name for name in re.findall(r"\bGATEWAY_[A-Z_]+[A-Z]\b", text) if "<" not in name} - known - {
        "GATEWAY_BASE_PORT"
    } == set()
    series = {f"{name}{part}" for name in FAMILIES for part in ("", "_bucket", "_sum", "_count")}
    assert {name for name in inline if re.fullmatch(r"gateway_\w+", name)} <= series
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "gateway.rules.yml").read_text("utf-8"))
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert {name for name in inline if re.fullmatch(r"Gateway[A-Z]\w+", name)} <= alerts | set(gateway.client.__all__)
    shouted = set(re.findall(r"\b[A-Z]+-[A-Z]+(?:-[A-Z]+)*\b", text)) - {"SHA-256"}
    assert {name for name in shouted if len(name) > 7 and name[:2] != "X-"} <= INVARIANTS
    for name in inline:
        if re.fullmatch(r"(?:deploy|docs|gateway|policies|tests|keys)/[\w./-]+", name) and "…" not in name:
            assert (ROOT / name).exists(), name


@pytest.mark.parametrize("path", [path for path in TEXTS if path.exists()], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    """Relative links name a file that is there; links within a page name one of its headings."""
    text = path.read_text("utf-8")
    anchors = {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        if file:
            assert (path.parent / file).exists(), target
        else:
            assert anchor in anchors, target


def test_fields_and_names_in_the_callers_page_exist() -> None:
    """The client's names in the example import; the role that auditors.md asks for exists."""
    text = (DOCS / "callers.md").read_text("utf-8")
    example = text.split("```python\n")[1].split("```")[0]
    compile(example, "callers.md", "exec")
    for name in re.search(r"from gateway.client import (.*)", example)[1].split(","):  # type: ignore[index]
        assert hasattr(gateway.client, name.strip())
    assert Role.AUDITOR.value == "auditor"


def test_incident_table_knows_every_alert_that_pages() -> None:
    """What wakes someone is explained: in the table of incidents, or by the alert's own sentence."""
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "gateway.rules.yml").read_text("utf-8"))
    paging = [rule for group in rules["groups"] for rule in group["rules"] if rule["labels"]["severity"] == "page"]
    text = (DOCS / "operate.md").read_text("utf-8")
    unexplained = [rule["alert"] for rule in paging if rule["alert"] not in text and not rule["annotations"]["action"]]
    assert unexplained == []


@pytest.mark.parametrize(
    "page", [ROOT / "CONTRIBUTING.md", *sorted((DOCS / "decisions").glob("*.md"))], ids=lambda p: p.name
)
def test_place_that_a_contributor_is_sent_to_exists(page: Path) -> None:
    """Each path in backticks is a file or folder of the project; `<layer>` and `*` stand for any."""
    for named in re.findall(r"`((?:gateway|tests|policies|docs|deploy)/[^`\s]*)`", page.read_text("utf-8")):
        assert list(ROOT.glob(re.sub(r"<\w+>", "*", named).rstrip("/"))), f"{page.name}: {named}"


def test_every_alert_has_its_row_in_the_runbook() -> None:
    """Who is paged finds the alert's name in docs/operate.md, with what it means and what to do."""
    rules = (ROOT / "deploy" / "prometheus" / "gateway.rules.yml").read_text("utf-8")
    alerts = set(re.findall(r"alert: (\w+)", rules))
    rows = [line for line in (DOCS / "operate.md").read_text("utf-8").splitlines() if line.startswith("| `Gateway")]
    named = {name for row in rows for name in re.findall(r"`(Gateway\w+)`", row.split("|")[1])}
    assert alerts - named == set()
    assert named - alerts == set()
    assert all(len(row.split("|")) == 5 for row in rows)
