"""Theorems (`<layer>/theorems.yaml`): sentences of the law, each with a claim that a solver proves of the policies."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from gateway.domain.directory import SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act
from gateway.domain.policies import PolicySet
from gateway.policy.law.constants import CONSTANTS_FILE, Constants, read_constants, with_constants
from gateway.policy.law.documents import Document, DocumentError
from gateway.policy.law.layers import THEOREMS_FILE
from gateway.policy.law.scopes import LAYER_FILE, PLATFORM, region_of
from gateway.policy.law.world import ACT_GROUPS

PERMITTED = "permitted"
"""The claim that whatever is given is permitted (of uses: that nothing forbids it)."""

ALIKE = "alike without the layer"
"""The claim that what is given is decided as if the theorem's layer were not there."""

NO_LESS = "no less than without the layer"
"""The claim that of what is given all that would be permitted if the theorem's layer were not there is."""

MAX_THEOREMS = 1_000


class Theorem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sentence and its claim.

    Args:
        id: unique in the layers that are read together.
        article: where it stands, a row of `articles.yaml`; several are separated by `; `.
        sentence: the sentence in English.
        sentence_zh: the sentence in Chinese.
        claim: a Cedar expression that holds of whatever is permitted, or `PERMITTED`, `ALIKE` or `NO_LESS`.
        about: uses or officers' acts.
        under: of uses: under any grant and without (`any`), under a grant alone, or without one alone.
        actions: the sharing modes or acts it speaks of; all where none is named.
        given: a Cedar expression: what else is presumed.
        rests_on: the static policies alone, or with them those built of the sample of every shape.
        layer: whose it is.
        comes_along: whether it comes with each layer of a region, and stands in no file.
    """

    id: str
    article: str
    sentence: str
    sentence_zh: str
    claim: str
    about: Literal["uses", "acts"] = "uses"
    under: Literal["any", "grant", "none"] = "any"
    actions: tuple[str, ...] = ()
    given: str = "true"
    rests_on: Literal["static", "built"] = "static"
    layer: str = ""
    comes_along: bool = False

    @property
    def articles(self) -> tuple[str, ...]:
        """The citations of `article`."""
        return tuple(part.strip() for part in self.article.split(";"))

    @property
    def asked_actions(self) -> tuple[str, ...]:
        """The actions that it is asked of."""
        return self.actions or _ACTIONS[self.about]


_ACTIONS: Mapping[str, tuple[str, ...]] = {
    "uses": tuple(mode.value for mode in SharingMode),
    "acts": tuple(act.value for act in Act),
}


def read_theorems(policies: PolicySet) -> tuple[Theorem, ...]:
    """The theorems of the set's layers, in the order of layers and files, with those that come with a region's layer.

    Raises:
        GatewayError: `invalid-input`, naming every fault: no such table, an id twice, an action that there is not.
    """
    faults: list[dict[str, str]] = []
    found: dict[str, Theorem] = {}
    for layer in policies.layers:
        name = f"{layer}/{THEOREMS_FILE}"
        try:
            region = region_of(policies.files, layer)
        except ValueError as error:
            faults.append({"field": f"{layer}/{LAYER_FILE}", "fault": str(error)})
            region = None
        if region is not None:
            found |= {theorem.id: theorem for theorem in theorems_of(layer, region)}
        constants = _constants(policies, layer, faults)
        for row in _rows(name, policies.files.get(name), faults):
            theorem = _with_constants(row, constants, name, faults)
            if theorem.id in found:
                faults.append({"field": name, "fault": f"`{theorem.id}` stands twice"})
            strange = sorted(set(theorem.actions) - set(_ACTIONS[theorem.about]))
            if strange:
                faults.append(
                    {"field": name, "fault": f"`{theorem.id}` speaks of {strange}, which are no such actions"}
                )
            if theorem.about == "acts" and (theorem.under, theorem.rests_on) != ("any", "static"):
                faults.append({"field": name, "fault": f"`{theorem.id}`: an act is done under no grant"})
            found[theorem.id] = msgspec.structs.replace(theorem, layer=layer, comes_along=False)
    if faults:
        raise GatewayError("invalid-input", "the theorems have faults", faults=faults)
    return tuple(found.values())


def _constants(policies: PolicySet, layer: str, faults: list[dict[str, str]]) -> Constants:
    file = f"{layer}/{CONSTANTS_FILE}"
    try:
        return read_constants(policies.files.get(file, ""))
    except ValueError as error:
        faults.append({"field": file, "fault": str(error)})
        return {}


def _with_constants(theorem: Theorem, constants: Constants, name: str, faults: list[dict[str, str]]) -> Theorem:
    """The theorem with its layer's constants in their places."""
    (given, unknown), (claim, more) = (with_constants(text, constants) for text in (theorem.given, theorem.claim))
    faults += [
        {"field": name, "fault": f"`{theorem.id}` names `{each}`, which is no constant of the layer"}
        for _, each in (*unknown, *more)
    ]
    return msgspec.structs.replace(theorem, given=given, claim=claim)


def theorems_of(layer: str, region: str) -> tuple[Theorem, ...]:
    """What is claimed of every layer of a region: it decides nothing about another one (`policy.law.scopes`)."""
    within = f'Region::"{region}"'
    outside = f"if resource has region then !(resource.region in {within}) else true"
    platform = tuple(act for act in _ACTIONS["acts"] if PLATFORM in ACT_GROUPS[act])

    def claimed(name: str, sentence: str, sentence_zh: str, given: str, **more: Any) -> Theorem:
        return Theorem(
            f"{layer}-{name}",
            "Decree 809 Art. 8",
            sentence,
            sentence_zh,
            given=given,
            layer=layer,
            comes_along=True,
            **{"claim": ALIKE, "about": "acts", **more},
        )

    return (
        claimed(
            "region-uses",
            f"Data of another region than {region} is used as if the layer `{layer}` were not there.",
            f"使用区域 {region} 以外的数据，一如没有“{layer}”层。",
            f"!(resource.dataset.supplier.region in {within})",
            about="uses",
        ),
        claimed(
            "region-acts",
            f"What concerns another region than {region} is in whose hands it is without the layer `{layer}`.",
            f"涉及区域 {region} 以外的事项，其权限一如没有“{layer}”层。",
            outside,
        ),
        claimed(
            "region-platform",
            f"Who runs the platform and puts policies in force is as without the layer `{layer}`.",
            f"平台运行和策略启用的权限，一如没有“{layer}”层。",
            "true",
            actions=platform,
        ),
        claimed(
            "region-above",
            f"The layer `{layer}` takes no power from an officer of another region than {region}, or of one above it.",
            f"“{layer}”层不减损区域 {region} 以外及其上级区域人员的权限。",
            f"!(principal.region in {within})",
            claim=NO_LESS,
        ),
    )


def place_of_theorem(policies: PolicySet, name: str) -> str:
    """Where a theorem of a set that can be read stands: `file:line:column`."""
    for layer in policies.layers:
        file = f"{layer}/{THEOREMS_FILE}"
        document = Document(policies.files.get(file, ""))
        for number, row in enumerate(document.value or ()):
            if row.get("id") == name:
                return document.place(file, number)
    return ""


def _rows(name: str, text: str | None, faults: list[dict[str, str]]) -> Iterator[Theorem]:
    if text is None:
        return
    try:
        rows = Document(text).convert(list[Theorem], empty=[])
    except DocumentError as error:
        faults.append({"field": error.place(name), "fault": f"is no table of theorems: {error}"})
        return
    if len(rows) > MAX_THEOREMS:
        faults.append({"field": name, "fault": f"has more than {MAX_THEOREMS} theorems"})
        return
    yield from rows
