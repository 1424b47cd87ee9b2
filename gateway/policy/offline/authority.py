"""Whose policies a set changes: each difference from another set, by layer and region, and sets made of two.

Who puts policies in force is asked for each difference: about a region's layer whoever is competent for that region,
and about anything else (another schema, the national layer, a layer that is of no region, or of another one than
before) whoever is competent for all that the gateway serves.
"""

from collections.abc import Iterable

import msgspec

from gateway.domain.policies import PolicySet
from gateway.policy.law.layers import SCHEMA_FILE, Layers
from gateway.policy.law.scopes import region_of

ORDER = "the order of layers"


class Change(msgspec.Struct, frozen=True):
    """What of one layer two sets differ in, or of what all layers share.

    Args:
        what: the layer; else the file, or `ORDER`.
        layer: the layer, if it is one's.
        region: the region whose layer it is in both, where it is there.
    """

    what: str
    layer: str | None = None
    region: str | None = None


def changes_between(old: PolicySet, new: PolicySet) -> tuple[Change, ...]:
    """In what two sets differ; empty where they are one set. Cedar is not parsed for it."""
    names = tuple(dict.fromkeys((*old.layers, *new.layers)))
    found = []
    for layer in names:
        if _of_layer(old, layer) != _of_layer(new, layer):
            regions = {_region(each, layer) for each in (old, new) if layer in each.layers}
            found.append(Change(layer, layer, regions.pop() if len(regions) == 1 else None))
    kept = [name for name in old.layers if name in new.layers]
    if kept != [name for name in new.layers if name in old.layers]:
        found.append(Change(ORDER))
    shared = {name for each in (old, new) for name in each.files if name.partition("/")[0] not in names}
    found += [Change(name) for name in sorted(shared) if old.files.get(name) != new.files.get(name)]
    return tuple(found)


def widening(old: Layers, new: Layers) -> frozenset[str]:
    """The layers of regions that have a permit in `new` which they do not have so in `old`.

    National law permits no use without a grant, and every act that it permits it names: so each permit of a region's
    layer opens something that is not open without it.
    """
    before = {policy.id: policy.est for policy in old.policies.values() if policy.region is not None}
    return frozenset(
        policy.layer
        for policy in new.policies.values()
        if policy.region is not None and policy.effect == "permit" and before.get(policy.id) != policy.est
    )


def knows_regions(policies: PolicySet) -> bool:
    """Whether the policies of a set decide who changes a region's layer: those of older gateways do not know of any."""
    return "widens?:" in policies.files.get(SCHEMA_FILE, "")


def with_layers_of(base: PolicySet, other: PolicySet, layers: Iterable[str]) -> PolicySet:
    """`base` with these layers as `other` has them: changed where both have one, added at the end, or taken out."""
    chosen = set(layers)
    kept = {name: text for name, text in base.files.items() if name.partition("/")[0] not in chosen}
    taken = {name: text for name, text in other.files.items() if name.partition("/")[0] in chosen & set(other.layers)}
    names = [name for name in base.layers if name not in chosen or name in other.layers]
    names += [name for name in other.layers if name in chosen and name not in names]
    return PolicySet(tuple(names), {**kept, **taken})


def _of_layer(policies: PolicySet, layer: str) -> dict[str, str] | None:
    if layer not in policies.layers:
        return None
    return {name: text for name, text in policies.files.items() if name.startswith(f"{layer}/")}


def _region(policies: PolicySet, layer: str) -> str | None:
    try:
        return region_of(policies.files, layer)
    except ValueError:
        return None
