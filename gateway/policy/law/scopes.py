"""Whose layer a layer is: one of a region (`<layer>/layer.yaml`) acts on what is of that region, and on nothing else.

    region: "442000"        # GB/T 2260, six digits

The one rule which region counts. Of a use it is that of the dataset's supply department: whose data it is. Of an act it
is that of the department that the matter is of (`Matter.region`). What lies in a region is of it, too. It holds
because each policy of such a layer begins with the condition of this module when the layers are read, whatever its
author wrote, and a policy whose first condition fails is neither satisfied nor in error. So it stands in what
`gateway policies show` prints, and in what is proved.

Two bounds more, of acts. Who runs the platform, and who puts policies in force, is settled nationally alone: no
region's layer speaks of the acts of `runPlatform`. And a region binds its own officers: its forbids take nothing from
those of other regions and of those above it.
"""

import re
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

import msgspec

from gateway.domain.regions import NATION, region_chain
from gateway.policy.law.documents import Document, DocumentError

LAYER_FILE = "layer.yaml"
NATIONAL = "national"
"""The layer of Decree 809, which every other stands on; it is of no region."""

PLATFORM = "runPlatform"
"""The group of acts that no region's layer speaks of."""

Est = dict[str, Any]

_CODE = re.compile(r"[0-9]{6}")


class Declared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a layer says of itself.

    Args:
        region: the division code of the region whose layer it is.
    """

    region: str


def region_of(files: Mapping[str, str], layer: str) -> str | None:
    """The region of a layer of a set; None where it is of none, and holds for all.

    Raises:
        DocumentError: where the file says something else, with what is wrong.
    """
    text = files.get(f"{layer}/{LAYER_FILE}")
    if text is None:
        return None
    try:
        document = Document(text)
        region = document.convert(Declared).region
    except DocumentError as error:
        raise DocumentError(f"does not say whose layer it is: {error}", error.line, error.column) from error
    if not _CODE.fullmatch(region):
        raise document.fault(f"`{region}` is no region: six digits (GB/T 2260), in quotes", "region")
    if region == NATION:
        raise document.fault(f"a layer of the whole nation has no `{LAYER_FILE}`", "region")
    if layer == NATIONAL:
        raise document.fault(f"`{NATIONAL}` is of no region: it holds for all", "region")
    return region


def regions_of(files: Mapping[str, str], layers: Iterable[str]) -> dict[str, str]:
    """Layer -> region, of those that have one, of a set that loads."""
    found = ((layer, region_of(files, layer)) for layer in layers)
    return {layer: region for layer, region in found if region is not None}


def lies_in(region: str, wider: str | None) -> bool:
    """Whether a region is `wider` or lies in it; everything lies in None."""
    return wider is None or wider in region_chain(region)


def scoped(est: Est, region: str, *, for_uses: bool, for_acts: bool) -> Est:
    """A policy, in Cedar's JSON form, with the condition of its layer's region before all others."""
    use = _within(_attribute("resource", "dataset", "supplier", "region"), region)
    act = _all(
        {"has": {"left": {"Var": "resource"}, "attr": "region"}},
        _within(_attribute("resource", "region"), region),
        {"!": {"arg": {"in": {"left": {"Var": "action"}, "right": _entity("Action", PLATFORM)}}}},
        *([_within(_attribute("principal", "region"), region)] if est["effect"] == "forbid" else []),
    )
    body = act if for_acts else use
    if for_uses and for_acts:
        # Where its scope names no action it means both, which differ in what they are about.
        body = {"||": {"left": _all(_is("Interface"), use), "right": _all(_is("Matter"), act)}}
    return {**est, "conditions": [{"kind": "when", "body": body}, *est["conditions"]]}


def _within(of: Est, region: str) -> Est:
    return {"in": {"left": of, "right": _entity("Region", region)}}


def _attribute(variable: str, *names: str) -> Est:
    found: Est = {"Var": variable}
    for name in names:
        found = {".": {"left": found, "attr": name}}
    return found


def _is(kind: str) -> Est:
    return {"is": {"left": {"Var": "resource"}, "entity_type": kind}}


def _entity(kind: str, name: str) -> Est:
    return {"Value": {"__entity": {"type": kind, "id": name}}}


def _all(*parts: Est) -> Est:
    return reduce(lambda left, right: {"&&": {"left": left, "right": right}}, parts)
