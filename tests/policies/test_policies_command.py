"""`gateway policies`: what it prints, how it fails, and comparing over a real state."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from gateway.cli.policies import policies
from gateway.cli.policies.reading import explanation_lines
from gateway.control.policies.standing import StandingState
from gateway.domain.directory import Purpose, System
from gateway.domain.orders import Reach
from gateway.policy import load_layers
from gateway.policy.law.layers import read_set
from gateway.policy.live.slices import Slice
from gateway.policy.offline.comparing import compare
from gateway.policy.offline.examining import examine, strangers
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.setup import initialise
from gateway.store import Store
from tests.policies.cases import (
    NATIONAL,
    NOW,
    ROOT,
    ZHONGSHAN,
    call,
    dataset,
    department,
    grant,
    interface,
    order,
    state,
)
from tests.policies.layering import note, root_with

BROKEN = note("idle") + 'forbid (principal, action in Action::"use", resource) when { context.assurance > 3 };'


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(policies, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_check_says_that_the_shipped_policies_are_sound() -> None:
    status, said = run("check")
    assert status == 0
    assert "national: " in said
    assert "national + zhongshan: " in said
    status, said = run("check", "--layer", "national", "--json")
    assert (status, [one["sound"] for one in json.loads(said)]) == (0, [True])


def test_check_fails_with_every_fault(tmp_path: Path) -> None:
    root = root_with(tmp_path, extra=BROKEN)
    status, said = run("check", "--root", str(root), "--layer", "national", "--layer", "extra", "--json")
    assert status == 1
    assert [fault["field"] for fault in json.loads(said)["faults"]] == ["extra/extra.cedar:2:1: idle"]


def test_the_tables_are_run(tmp_path: Path) -> None:
    status, said = run("test")
    assert (status, said.endswith("cases, 0 wrong\n")) == (0, True)
    table = "layers: [national]\ncases:\n  - {case: nothing is ever shared, expect: not-granted}\n"
    root = root_with(tmp_path, national={"tests/wrong.yaml": table})
    status, said = run("test", "--root", str(root), "--layer", "national", "--json")
    assert status == 1
    assert [one["case"] for one in json.loads(said) if one["fault"]] == ["nothing is ever shared"]


@pytest.mark.parametrize("arguments", [("explain", "s", "no-slash"), ("explain", "s", "a/b", "--parameter", "x")])
def test_wrong_usage_is_one_sentence(arguments: tuple[str, ...]) -> None:
    status, said = run(*arguments, "--department", "d", "--purpose", "p")
    assert status == 1
    assert "Traceback" not in said


def lines(the_state: Any, the_call: Any, *, chinese: bool) -> str:
    verdict = Slice(NATIONAL, the_state).evaluate(the_call, NOW)
    return "\n".join(explanation_lines(json.loads(msgspec.json.encode(verdict)), chinese=chinese))


def test_an_explanation_reads_in_both_languages() -> None:
    said = lines(state(), call(purpose="x"), chinese=False)
    assert "denied: purpose-not-granted" in said
    assert "grant g1:" in said
    assert "what to do: use a purpose of your grant" in said
    assert "rule: Data is used for no other purpose than was granted (national-art25-purpose)" in said
    assert "Decree 809 Art. 25 ¶1" in said
    said = lines(state(), call(purpose="x"), chinese=True)
    assert "拒绝" in said
    assert "规则: 数据不得用于授权以外的目的（national-art25-purpose）" in said
    assert "下一步" in said
    assert "permitted under grant g1" in lines(state(), call(), chinese=False)
    assert "允许（授权 g1）" in lines(state(), call(), chinese=True)


def furnish(opened: Store) -> None:
    """One entry of the police, its interface, and three grants on it."""
    with opened.transaction() as tx:
        for name in ("police", "civil-affairs", "tax"):
            tx.put_department(department(name))
        tx.put_system(System("marriage-desk", "civil-affairs", "desk"))
        tx.put_purpose(Purpose("marriage-registration", "marriage registration"))
        entry = tx.submit_dataset(dataset(purposes=("marriage-registration",), conditions="x", scope="x"))
        tx.release_dataset(entry.id, entry.version)
        tx.put_interface(interface())
        tx.insert_grant(grant("g1"))
        tx.insert_grant(grant("g2", items=("name",)))
        tx.insert_grant(grant("g3", department="tax"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path / 'state.db'}")
    furnish(opened)
    yield opened
    opened.close()


def test_what_stands_is_read_from_the_state(store: Store, tmp_path: Path) -> None:
    root = root_with(tmp_path)
    grades = root / "national" / "art34-35-grades.cedar"
    grades.write_text(
        grades.read_text(encoding="utf-8").replace('[Grade::"3"', '[Grade::"2", Grade::"3"'), encoding="utf-8"
    )
    standing = StandingState(store)
    assert sorted(standing.pairs()) == [("civil-affairs", "d1"), ("tax", "d1")]
    found = compare(NATIONAL, load_layers(root, ["national"]), standing, NOW)
    assert (found.grants, found.losing) == (3, ("g1", "g2", "g3"))
    assert compare(NATIONAL, NATIONAL, standing, NOW).losing == ()
    assert compare(NATIONAL, ZHONGSHAN, standing, NOW).gaining == ()
    with store.transaction() as tx:
        tx.put_order(order(reach=Reach.DEPARTMENT, target="tax"))
    assert compare(NATIONAL, load_layers(root, ["national"]), standing, NOW).losing == ("g1", "g2")


HOURS = note("hours", '@refusal("suspended")') + (
    'forbid (principal, action in Action::"use", resource) when { context.minuteOfDay >= 1080 };'
)


def test_a_call_is_explained_at_a_time_and_under_policies_that_are_not_in_force(tmp_path: Path) -> None:
    """What a candidate would say of one call, over the grants that stand; and what the law says of it next year."""
    home = GatewayHome(tmp_path / "home")
    initialise(home, region="440000", department="data-bureau")
    opened = Store.open(home.state_url(home.settings()), memory=home.state_memory)
    furnish(opened)
    opened.close()
    root = root_with(tmp_path, extra=HOURS)
    asked = (
        *("explain", "marriage-desk", interface().key, "--department", "civil-affairs", "--home", str(home.root)),
        *("--purpose", "marriage-registration", "--items", "name"),
    )
    under, extra = ("--root", str(root)), ("--layer", "national", "--layer", "extra")
    noon, evening = ("--at", "2026-03-02T12:00:00+08:00"), ("--at", "2026-03-02T18:00:00+08:00")
    for options, first in (
        (noon, "permitted under grant g2"),
        (evening, "permitted under grant g2"),
        ((*noon, *extra), "permitted under grant g2"),
        ((*evening, *extra), "denied: suspended"),
        (("--at", "2027-03-02T12:00:00+08:00"), "denied: grant-expired"),
    ):
        status, told = run(*asked, *under, *options)
        assert (status, told.splitlines()[0]) == (0, first)
    for options, wrong in (
        ((*under, "--at", "2026-03-02T12:00:00"), "at"),
        ((*under, "--at", "3000-01-01T00:00:00Z"), "at"),
        (extra, "name their `--root` too"),
    ):
        status, told = run(*asked, *options)
        assert (status, wrong in " ".join(told.split())) == (1, True), told


STRANGE = (
    note("strange")
    + """forbid (principal in Department::"polcie", action in Action::"use", resource) when {
    principal == System::"marriage-desk-2" || resource.dataset == Dataset::"d-1"
        || resource.dataset == Dataset::"d1" || principal.department == Department::"tax"
};"""
)


def test_what_policies_name_and_the_directory_has_not_is_told(store: Store, tmp_path: Path) -> None:
    """A name misspelt, of a department, an entry or a system: the rule about it would hold nobody, and say nothing."""
    layers = load_layers(root_with(tmp_path, extra=STRANGE), ["national", "extra"])
    standing = StandingState(store)
    unknown = ('Department::"polcie"', 'Dataset::"d-1"', 'System::"marriage-desk-2"')
    assert strangers(layers, standing) == unknown
    assert strangers(NATIONAL, standing) == ()
    examined = examine(
        read_set(tmp_path / "policies", ["national", "extra"]), read_set(ROOT, ["national"]), standing, NOW
    )
    assert examined.loss is not None
    assert examined.loss.strangers == unknown


def test_compare_over_a_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    initialise(GatewayHome(home), region="442000", department="data-bureau")
    root = root_with(tmp_path)
    strange = root_with(tmp_path / "strange", extra=STRANGE)
    layers = ("--layer", "national", "--new-layer", "national", "--new-layer", "extra")
    _, said = run("compare", str(root), str(strange), *layers, "--home", str(home))
    assert 'the directory has no Department::"polcie"' in said
    status, said = run("compare", str(root), str(root), "--home", str(home), "--no-loss")
    assert status == 0
    assert "nobody gains and nobody loses" in said
    status, said = run("compare", str(root), str(root), "--home", str(tmp_path / "none"))
    assert status == 1
