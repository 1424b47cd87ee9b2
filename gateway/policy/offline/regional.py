"""What is checked of a region's layer, besides what `policy.law.scopes` makes of it: that it is whole, and its own.

The names of its policies are its own, so that no region takes another's; its tables rest on no other region's layer, so
that another's change is never refused for them; what it opens to officers stands in `@widens`; and of uses,
and of each kind of act, it leaves something that the national tables permit: to take all away is no rule of sharing.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from gateway.domain.policies import PolicySet
from gateway.domain.regions import region_chain
from gateway.policy.law.layers import Layers, parse_layers
from gateway.policy.law.scopes import NATIONAL, PLATFORM, lies_in
from gateway.policy.law.world import ACT_GROUPS
from gateway.policy.offline.tables import Case, Table, run_case
from gateway.policy.proofs.questions import reached

Found = tuple[str, str, str]
"""Kind, subject and what: a finding of the check."""


def regional_faults(policies: PolicySet, layers: Layers, tables: Sequence[Table]) -> Iterator[Found]:
    """What is wrong with the layers of regions of a set that loads."""
    yield from _of_regions(layers, tables)
    yield from _taken(policies, layers, tables)


def says_so(layers: Layers, permits: Sequence[str], act: str) -> bool:
    """Whether each of the policies names the act in its `@widens`, acts separated by `; `."""
    said = (layers.policies[name].est.get("annotations", {}).get("widens", "") for name in permits)
    return all(act in [part.strip() for part in names.split(";")] for names in said)


def _of_regions(layers: Layers, tables: Sequence[Table]) -> Iterator[Found]:
    """What a region's layer has of others: ids that are not its own, tables under their layers, acts that it opens."""
    for policy in layers.policies.values():
        if policy.region is None:
            continue
        if not policy.id.startswith(f"{policy.layer}-"):
            what = f"is no id for a policy of `{policy.layer}`, a region's layer: it begins with `{policy.layer}-`"
            yield ("region", policy.id, what)
        acts = [act for act, is_use in reached(policy) if not is_use]
        if policy.for_acts and acts and all(PLATFORM in ACT_GROUPS[act] for act in acts):
            yield ("region", policy.id, "is about acts that no region's layer speaks of: see `runPlatform`")
        elif policy.effect == "permit" and (opened := [act for act in acts if not says_so(layers, [policy.id], act)]):
            yield ("region", policy.id, f"permits {_named(opened)}; what a region's layer opens stands in `@widens`")
    for table in tables:
        layer = table.file.partition("/")[0]
        region = layers.regions.get(layer)
        if region is not None:
            others = {name for name in table.layers if name != layer and not lies_in(region, layers.regions.get(name))}
            if others:
                yield ("region", table.file, f"is decided under {_named(sorted(others))}, which is another region's")


def _named(names: Sequence[str]) -> str:
    most = 5
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"`{name}`" for name in names[:most]) + more


def _taken(policies: PolicySet, layers: Layers, tables: Sequence[Table]) -> Iterator[Found]:
    """Uses, or kinds of acts, of which a region's layer leaves nothing, of all that the national tables permit.

    Their cases are moved into the region; what a layer forbids of them in part, it may.
    """
    national = [case for table in tables if table.layers == (NATIONAL,) for case in table.cases]
    for layer, region in layers.regions.items():
        if all(one.effect == "permit" for one in layers.policies.values() if one.layer == layer):
            continue
        names = [name for name in layers.names if name == layer or name not in layers.regions]
        under = parse_layers(policies.files, names)
        before = parse_layers(policies.files, [name for name in names if name != layer])
        left: dict[str, bool] = {}
        for case in national:
            moved = msgspec.structs.replace(case, facts=in_region(case.facts, region))
            if case.expected.deny is None and _is_spoken_of(moved.facts, region):
                asked = ACT_GROUPS[case.facts["act"]][0] if "act" in case.facts else "use"
                if not left.get(asked) and _is_permitted(before, moved):
                    left[asked] = _is_permitted(under, moved)
        gone = [name for name, is_left in left.items() if not is_left]
        if gone:
            yield ("taken", layer, f"leaves nothing of {_named(gone)} that the national layer's tables permit")


def _is_spoken_of(facts: Any, region: str) -> bool:
    """Whether a forbid of the region's layer can hold of a case: its data, or its matter in its own officers' hands."""
    concerned = [facts["matter"], facts["officer"]] if "act" in facts else [facts["supplier"]]
    return all(lies_in(one.get("region") or "", region) for one in concerned)


def _is_permitted(layers: Layers, case: Case) -> bool:
    verdict = run_case(layers, case).verdict
    return verdict is not None and verdict.is_permit


def in_region(facts: Any, region: str) -> Any:
    """What a case gives, moved from the city of the tables into a region: that city, its province, its districts."""
    if isinstance(facts, dict):
        return {name: in_region(each, region) for name, each in facts.items()}
    if isinstance(facts, list):
        return [in_region(each, region) for each in facts]
    if facts in (_CITY, *_DISTRICTS):
        return region
    return region_chain(region)[1] if facts == _PROVINCE else facts


_CITY, _PROVINCE, _DISTRICTS = "442000", "440000", ("442001", "442002")
"""Where the national tables' cases lie."""
