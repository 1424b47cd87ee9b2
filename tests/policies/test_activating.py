"""Sets of policies are checked, kept whole, activated at once and rolled back."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.domain.directory import Dataset, SharingAttribute
from gateway.domain.errors import GatewayError
from gateway.policy import Engine
from gateway.policy.activating import ACTIVE_FILE, PolicyShelf
from tests.policies.cases import NATIONAL, NOW, ROOT, ZHONGSHAN, call, dataset, state
from tests.policies.layering import note, root_with

AT = datetime(2026, 3, 2, tzinfo=UTC)
BOTH = ("national", "zhongshan")


def test_a_sound_set_is_kept_activated_and_rolled_back(tmp_path: Path) -> None:
    shelf = PolicyShelf(tmp_path / "shelf")
    assert shelf.active() is None
    first, second = shelf.put(ROOT, ("national",)), shelf.put(ROOT, BOTH)
    assert (first, second) == (NATIONAL.digest, ZHONGSHAN.digest)
    assert shelf.put(ROOT, BOTH) == second
    shelf.activate(first, ("national",), "o1", AT)
    engine = Engine(shelf.active() or ZHONGSHAN, lambda *_: state(grants=(), dataset=free()))
    assert not engine.decide(call(), NOW).is_permit
    _, layers = shelf.activate(second, BOTH, "o2", AT)
    engine.activate(layers)
    assert engine.decide(call(), NOW).is_permit
    back, layers = shelf.roll_back("o3", AT)
    engine.activate(layers)
    assert (back.digest, back.by) == (first, "o3")
    assert not engine.decide(call(), NOW).is_permit
    assert [(one.digest, one.by) for one in shelf.history()] == [(first, "o1"), (second, "o2"), (first, "o3")]
    shelf.roll_back("o4", AT)
    active = shelf.active()
    assert active is not None
    assert active.digest == second


def free() -> Dataset:
    return dataset(sharing_attribute=SharingAttribute.UNCONDITIONAL)


def test_an_unsound_set_is_refused_and_the_active_one_stays(tmp_path: Path) -> None:
    shelf = PolicyShelf(tmp_path / "shelf")
    shelf.activate(shelf.put(ROOT, ("national",)), ("national",), "o1", AT)
    rule = note("idle") + 'forbid (principal, action in Action::"use", resource) when { context.assurance > 3 };'
    root = root_with(tmp_path, extra=rule)
    with pytest.raises(GatewayError) as caught:
        shelf.put(root, ("national", "extra"))
    assert [fault["field"] for fault in caught.value.members["faults"]] == ["idle"]
    active = shelf.active()
    assert active is not None
    assert active.digest == NATIONAL.digest


def test_what_was_changed_on_the_shelf_is_not_loaded(tmp_path: Path) -> None:
    shelf = PolicyShelf(tmp_path / "shelf")
    digest = shelf.put(ROOT, ("national",))
    shelf.activate(digest, ("national",), "o1", AT)
    file = tmp_path / "shelf" / digest / "national" / "art34-35-grades.cedar"
    file.write_text(file.read_text(encoding="utf-8").replace(">= 3", ">= 4"), encoding="utf-8")
    with pytest.raises(GatewayError, match="was changed on the shelf"):
        shelf.active()
    with pytest.raises(GatewayError, match="was changed on the shelf"):
        shelf.activate(digest, ("national",), "o1", AT)


def test_what_is_not_on_the_shelf_is_not_activated(tmp_path: Path) -> None:
    shelf = PolicyShelf(tmp_path / "shelf")
    with pytest.raises(GatewayError, match="is on the shelf"):
        shelf.activate("0" * 64, ("national",), "o1", AT)
    with pytest.raises(GatewayError, match="no other policy set"):
        shelf.roll_back("o1", AT)
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / ACTIVE_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(GatewayError, match="is damaged"):
        shelf.history()
