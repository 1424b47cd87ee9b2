"""Sets of policies as text, and what was done with them: put in force, rolled back, tried in the shadow."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec


class PolicySet(msgspec.Struct, frozen=True):
    """A schema, a table of articles and layers, as text: all that decides, and all that it was checked by.

    Args:
        layers: the names of its layers, in order.
        files: path below a policies root (`national/art03-secrets.cedar`) -> text.
    """

    layers: tuple[str, ...]
    files: Mapping[str, str]

    @property
    def id(self) -> str:
        """SHA-256 (hex) over the layers' names and every file: two sets with one id are one set."""
        hasher = hashlib.sha256()
        for part in (*self.layers, "", *(part for name in sorted(self.files) for part in (name, self.files[name]))):
            content = part.encode("utf-8", "surrogatepass")
            hasher.update(len(content).to_bytes(8, "big"))
            hasher.update(content)
        return hasher.hexdigest()


class Proved(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of the theorems of a set, and of what is stated of each policy (`policy.proofs`).

    Args:
        of: digest of what was proved: schema, policies and theorems, and the shapes that policies are built in.
        layers: the layers' names, in order.
        result: `refuted` where a statement is; else `unknown` where the solver's limit left one open.
        theorems: how many theorems were asked.
        statements: how many statements about policies were asked.
        failed: what is not proved, `statement subject`, the first hundred.
        tools: the programs' versions.
    """

    of: str
    layers: tuple[str, ...]
    result: Literal["proved", "refuted", "unknown"]
    theorems: int
    statements: int
    tools: tuple[str, str]
    failed: tuple[str, ...] = ()


class PolicyStep(StrEnum):
    """What was done with a set. `initial` is the set of the settings, noted when another first replaces it.

    `propose` puts nothing in force: another person has to approve it (the setting `policies.two_persons`).
    """

    INITIAL = "initial"
    PROPOSE = "propose"
    ACTIVATE = "activate"
    ROLL_BACK = "roll-back"
    SHADOW = "shadow"
    SHADOW_END = "shadow-end"


IN_FORCE_STEPS = (PolicyStep.INITIAL, PolicyStep.ACTIVATE, PolicyStep.ROLL_BACK)


class Proposed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was proposed of a set, for another person to approve.

    Args:
        step: `activate` or `roll-back`.
        instead_of: the number of the step that was the last one to put policies in force, 0 where there was none: what
            the proposal was compared with. Once others are in force it cannot be approved any more.
        no_loss: whether it is refused where anything that stands loses.
        revives: whether it was said that something flows which did not.
        thorough: whether everything that stands is compared, however long it takes.
    """

    step: PolicyStep
    instead_of: int = 0
    no_loss: bool = False
    revives: bool = False
    thorough: bool = False


class PolicyEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step in the life of the policies in force, or of a candidate in the shadow.

    Args:
        number: consecutive, starting at 1.
        step: what was done.
        set: the id of the set it was done with.
        digest: of the set's layers, as verdicts' and records' policy digests are made from it.
        layers: their names, in order.
        by: the officer; "" for the set of the settings.
        at: when.
        reason: in words, if given.
        record: the id of the act's record, if it is an act.
        proved: what was known of its theorems when it was done; None where they were not proved.
        proposed: of a proposal, what for.
        approves: the number of the proposal that this step carried out, if it was proposed first.
        changed: what it changed of what was in force (`policy.offline.authority`): layers, files that all share; None
            where that was not noted yet.
    """

    number: int
    step: PolicyStep
    set: str
    digest: str
    layers: tuple[str, ...]
    by: str
    at: datetime
    reason: str = ""
    record: str = ""
    proved: Proved | None = None
    proposed: Proposed | None = None
    approves: int | None = None
    changed: tuple[str, ...] | None = None
