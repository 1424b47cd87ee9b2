"""A determining permit may let items out masked."""

from pathlib import Path

import pytest

from gateway.domain.directory import SharingAttribute
from gateway.policy import load_layers
from gateway.policy.law.masks import Mask, masks_on, parse_masks
from gateway.policy.live.slices import Slice
from tests.policies.cases import NOW, call, dataset, grant, state
from tests.policies.layering import note, root_with

OPEN = note("open", '@mask("sensitive=keep-last-4, name=hash")') + (
    'permit (principal is System, action in Action::"use", resource) '
    'when { resource.dataset.attribute == SharingAttribute::"unconditional" };'
)
UNDER_A_GRANT = note("veiled", '@mask("id_number=keep-last-4")') + (
    'permit (principal is System, action in Action::"use", resource) when { context has grant };'
)


def test_a_mask_of_a_determining_permit_is_in_the_verdict(tmp_path: Path) -> None:
    layers = load_layers(root_with(tmp_path, extra=OPEN), ["national", "extra"])
    free = state(grants=(), dataset=dataset(sharing_attribute=SharingAttribute.UNCONDITIONAL))
    found = Slice(layers, free).evaluate(call(items=None), NOW)
    assert found.masks == (("id_number", "keep-last-4"), ("name", "hash"))
    assert found.items == ("address", "id_number", "name")
    assert not found.all_items
    assert Slice(layers, free).evaluate(call(items=("address",)), NOW).masks == ()


def test_a_masking_permit_beside_a_grant_masks_and_permits_nothing_by_itself(tmp_path: Path) -> None:
    layers = load_layers(root_with(tmp_path, extra=UNDER_A_GRANT), ["national", "extra"])
    found = Slice(layers, state()).evaluate(call(items=("id_number",)), NOW)
    assert found.grant == "g1"
    assert found.masks == (("id_number", "keep-last-4"),)
    expired = state(grants=(grant(valid_until=grant().valid_from.replace(month=2)),))
    assert not Slice(layers, expired).evaluate(call(items=("id_number",)), NOW).is_permit


def test_the_stronger_of_two_masks_wins() -> None:
    masks = (Mask("a", "hash"), Mask("a", "keep-last-4"), Mask("sensitive", "year-only"))
    assert masks_on(masks, ("a", "b"), frozenset({"a", "b", "c"})) == (("a", "hash"), ("b", "year-only"))


@pytest.mark.parametrize("text", ["", "a", "a=", "=hash", "a=blur", "a=hash,,"])
def test_a_mask_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="@mask"):
        parse_masks(text)
