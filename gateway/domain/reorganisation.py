"""Departments change: one act merges, splits, dissolves or renames one, or hands over what it has (Decree 809 Art. 17).

An id is no name: it stays in records, grants and paths, whatever becomes of its department. A department that ends
says whose it became (`Department.succeeded_by`), so that what stands under the old id is found, and answered for, under
both.

| kind | what goes | what becomes of the department |
|---|---|---|
| merge | all that each of `departments` has, to `successor` | ends |
| split | each of `parts`; the rest to `successor` | ends; where no successor is named, goes on with the rest |
| dissolve | nothing: entries, systems and grants end | ends; `successor` owes its duties and answers for its records |
| rename | nothing | goes on under `name` |
| transfer | each of `parts` | goes on |

What the act does is a plan of `Step`s, shown before it is done; the act names the plan's digest, and another plan is
refused. Each step follows from one of `RULES`, so that no officer chooses what a stop reaches or a grant becomes.
"""

import hashlib
from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

MAX_PARTS = 10_000
"""Parts that one act names: a large department's entries and systems."""


class ReorganisationKind(StrEnum):
    """What happens to a department."""

    MERGE = "merge"
    SPLIT = "split"
    DISSOLVE = "dissolve"
    RENAME = "rename"
    TRANSFER = "transfer"


class PartKind(StrEnum):
    """What an act may hand over by name."""

    ENTRY = "entry"
    INTERFACE = "interface"
    SYSTEM = "system"
    OFFICER = "officer"
    DEPARTMENT = "department"


class Part(msgspec.Struct, frozen=True):
    """One thing that goes to another department.

    Args:
        thing: what it is.
        id: of an entry, system, officer or subordinate department; of an interface, its `supplier/id`.
        to: the department that it goes to.
    """

    thing: PartKind
    id: str
    to: str


class Reorganisation(msgspec.Struct, frozen=True, omit_defaults=True):
    """The act.

    Args:
        kind: what happens.
        departments: ids of those that it happens to: several only where they are merged.
        document: the reference of the decision that it rests on.
        reason: in words.
        successor: the id of the department that takes over: see this module's table.
        name: the new name.
        parts: what goes by name.
    """

    kind: ReorganisationKind
    departments: tuple[str, ...]
    document: str
    reason: str
    successor: str | None = None
    name: str | None = None
    parts: tuple[Part, ...] = ()

    @property
    def ends(self) -> bool:
        """Whether the departments end by it."""
        ending = (ReorganisationKind.MERGE, ReorganisationKind.DISSOLVE)
        return self.kind in ending or (self.kind is ReorganisationKind.SPLIT and self.successor is not None)

    @property
    def receivers(self) -> tuple[str, ...]:
        """The departments that something goes to."""
        named = [part.to for part in self.parts] + ([self.successor] if self.successor else [])
        return tuple(dict.fromkeys(named))


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that the act does.

    Args:
        thing: what kind of thing it is done to.
        id: which.
        rule: the name of the rule it follows from.
        becomes: whose it becomes, or what it is called then.
        loses: whether somebody may do less by it.
    """

    thing: str
    id: str
    rule: str
    becomes: str = ""
    loses: bool = False


RULES: Mapping[str, tuple[str, str]] = {
    "entry-moves": (
        "an entry is released anew, unchanged, by its new supplier; grants on it stand",
        "目录条目由新的提供部门原样重新发布，其上的授权继续有效",
    ),
    "entry-withdrawn": ("an entry of a dissolved department is withdrawn", "被撤销部门的目录条目予以撤回"),
    "submission-falls": (
        "a version that nobody has examined falls: the new supplier submits anew",
        "尚未审核的版本作废，由新的提供部门重新提交",
    ),
    "interface-moves": (
        "an interface goes with its entry; callers reach it under the old path, too",
        "服务接口随目录条目移交，原路径继续可用",
    ),
    "interface-withdrawn": ("an interface of a dissolved department is withdrawn", "被撤销部门的服务接口予以停用"),
    "host-moves": ("a host goes with the interfaces over it", "主机随其上的接口移交"),
    "host-shared": (
        "a host that goes on serving its owner is shared with whom an interface goes to",
        "仍为原部门服务的主机，与接收接口的部门共用",
    ),
    "host-ends": ("a host of a dissolved department is taken away", "被撤销部门的主机予以注销"),
    "claim-falls": ("a claim of a host that is on its way falls", "尚未确认的主机登记作废"),
    "certificate-copied": (
        "certificates that an interface names are stored for its new supplier",
        "接口所用证书为新的提供部门留存",
    ),
    "credential-copied": (
        "a credential that an interface names is stored for its new supplier",
        "接口所用凭证为新的提供部门留存",
    ),
    "system-moves": (
        "a system keeps its id and keys, and is its new department's",
        "信息系统的标识和密钥不变，归属新的部门",
    ),
    "system-revoked": ("a system of a dissolved department is revoked", "被撤销部门的信息系统予以注销"),
    "grant-moves": (
        "a grant goes with the systems that it serves, and serves those alone",
        "授权随其所服务的信息系统移交，且仅限于这些系统",
    ),
    "grant-narrowed": (
        "a grant goes on for the systems that stay, and serves those alone",
        "授权继续适用于留下的信息系统，且仅限于这些系统",
    ),
    "grant-copied": (
        "what a system that goes could use, it may use as before: within the same limits and time",
        "移交的信息系统在原有范围和期限内继续使用",
    ),
    "grant-of-own-data": (
        "a grant on what has become the department's own data ends",
        "数据已归本部门所有的，相应授权终结",
    ),
    "grant-without-system": (
        "a grant that no system goes with ends; what was drawn is disposed of",
        "无信息系统随同移交的授权终结，已获取的数据予以处置",
    ),
    "grant-ends": (
        "a grant of a dissolved department ends; what was drawn is disposed of",
        "被撤销部门的授权终结，已获取的数据予以处置",
    ),
    "grant-of-ended-data": (
        "a grant on data of a dissolved department ends; what was drawn is disposed of as its successor requires",
        "被撤销部门的数据上的授权终结，已获取的数据按其承接部门的要求予以处置",
    ),
    "grant-split": (
        "a suspended grant whose systems go to several departments goes to the successor",
        "信息系统分属多个部门的已暂停授权，归承接部门",
    ),
    "stop-follows": (
        "a stop follows what it stopped: nobody gets out of one by a reorganisation",
        "暂停措施随其对象移转，不因机构调整而解除",
    ),
    "stop-reaches": (
        "a stop of the new superior with its subordinates reaches the department",
        "上级部门连同其下属的暂停措施及于该部门",
    ),
    "scope-follows": (
        "an entry that may be shared with a department may be shared with what it became",
        "目录共享范围所列部门变更的，由承接部门承接",
    ),
    "grant-outside-scope": (
        "a grant gives nothing where the entry's scope leaves its new department out",
        "目录的共享范围不包括新部门的，相应授权不提供数据",
    ),
    "grant-revives": (
        "a grant gives data again where its department comes to lie in the entry's scope",
        "部门因变更而列入目录共享范围的，相应授权恢复提供数据",
    ),
    "proposal-withdrawn": (
        "a proposal of a department whose approval would no longer stand is withdrawn",
        "申请部门不再存续的申请予以撤回",
    ),
    "proposal-moves": ("the new supplier replies to what is proposed for its data", "由新的提供部门答复相应申请"),
    "proposal-refused": ("what is proposed for data that is withdrawn is refused", "数据已撤回的申请予以拒绝"),
    "case-moves": ("a case on its way goes to who answers for it now", "办理中的事项由承接部门继续办理"),
    "case-ends": ("what is applied for is applied for anew, by the successor", "办理中的申请终止，由承接部门重新提出"),
    "duty-moves": ("a duty to dispose of data goes to the successor", "数据处置义务由承接部门履行"),
    "officer-moves": (
        "a person keeps the roles that the new department is worth, in a region that is no wider",
        "人员随同转隶，职责以新部门为限，区域不得扩大",
    ),
    "officer-dismissed": ("a person of a dissolved department is dismissed", "被撤销部门的人员停用账号"),
    "subordinate-moves": ("a subordinate department gets another superior", "下属部门变更上级"),
    "drawn-counts": (
        "what was drawn counts for whoever has the data now (Art. 25 ¶2)",
        "已获取的数据计入现持有部门（第二十五条第二款）",
    ),
    "department-renamed": ("the name changes; the id, and what stands under it, stay", "名称变更，标识及其下事项不变"),
    "department-ends": (
        "the department ends: nothing is granted to it any more, and its records are found under both",
        "部门终止，不再获得授权，其记录在新旧部门名下均可查得",
    ),
    "department-gains": ("the successor takes over its matters", "承接部门承接其职责事项"),
}
"""Rule -> what it says, in English and in Chinese."""


def rules_of(steps: Iterable[Step]) -> dict[str, dict[str, str]]:
    """The rules that steps follow from, in both languages."""
    names = dict.fromkeys(step.rule for step in steps)
    return {name: dict(zip(("en", "zh"), RULES[name], strict=True)) for name in names}


def digest_of(act: Reorganisation, steps: Iterable[Step]) -> str:
    """SHA-256 (hex) of an act and all that it does: what an officer who has read the plan agrees to."""
    return hashlib.sha256(msgspec.json.encode([act, list(steps)], order="deterministic")).hexdigest()


def faults_of(act: Reorganisation) -> list[dict[str, str]]:
    """What is wrong with an act taken by itself."""
    faults: list[tuple[str, str]] = []
    if not act.departments or len(set(act.departments)) != len(act.departments):
        faults.append(("departments", "names none, or one twice"))
    if len(act.departments) > 1 and act.kind is not ReorganisationKind.MERGE:
        faults.append(("departments", f"a {act.kind.value} is of one department"))
    if (act.name is not None) is not (act.kind is ReorganisationKind.RENAME):
        faults.append(("name", "is for a rename, which needs it"))
    if act.kind in (ReorganisationKind.MERGE, ReorganisationKind.DISSOLVE) and act.successor is None:
        faults.append(("successor", "is missing: who takes over, or answers for what is left"))
    if act.kind in (ReorganisationKind.RENAME, ReorganisationKind.TRANSFER) and act.successor is not None:
        faults.append(("successor", f"a {act.kind.value} has none"))
    by_part = act.kind in (ReorganisationKind.SPLIT, ReorganisationKind.TRANSFER)
    if bool(act.parts) is not by_part:
        faults.append(("parts", "are for a split or a transfer, which needs them"))
    if len({(part.thing, part.id) for part in act.parts}) != len(act.parts):
        faults.append(("parts", "name something twice"))
    if set(act.receivers) & set(act.departments):
        faults.append(("successor" if act.successor in act.departments else "parts", "go to the department itself"))
    return [{"field": field, "fault": fault} for field, fault in faults]
