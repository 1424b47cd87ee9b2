"""How Cedar upholds each condition of a grant, and how a denial tells it: one row a condition of the domain's table.

A row's Cedar is part of the grant's permit. When it can turn by time alone is read from that Cedar and declared
nowhere: a clock compared with a number turns there, and a clock looked at in any other way may turn at any second, so
that a verdict made under it holds for its instant alone (`policy.law.time_limits`).
"""

from collections.abc import Callable, Mapping

import msgspec

from gateway.domain.conditions import CONDITIONS, Condition
from gateway.domain.directory import Dataset
from gateway.domain.grants import Grant, Quota
from gateway.domain.verdicts import Call
from gateway.policy.law.time_limits import TimeUse, minute_of_day, time_use, unix_seconds
from gateway.policy.live.expressions import Est, contains, context, entity, strings

Words = Mapping[str, str]


def _no_words(_grant: Grant, _dataset: Dataset, _call: Call) -> Words:
    return {}


def _no_cedar(_grant: Grant, _supplier: str) -> list[Est]:
    return []


class Upheld(msgspec.Struct, frozen=True):
    """How one condition is upheld, and told.

    Args:
        name: the condition's, as in `gateway.domain.conditions`.
        article: by which article it stands.
        sentence: what the grant says, with places for `words`.
        sentence_zh: the same in Chinese.
        cedar: conditions of the grant's permit (of a grant and its supplier's id), all of which must hold.
        fails: whether a call fails on it at a second, read without Cedar: a test holds that the two agree.
        words: what stands in the sentences' places.
        code: the problem code of a denial for which it failed first.
        elsewhere: where it is upheld instead of in the permit's conditions; "" where `cedar` does.
        fails_at: the same, for a condition that looks at the time and at nothing of the call.
    """

    name: str
    article: str
    sentence: str
    sentence_zh: str
    fails: Callable[[Grant, Dataset, Call, int], bool]
    cedar: Callable[[Grant, str], list[Est]] = _no_cedar
    words: Callable[[Grant, Dataset, Call], Words] = _no_words
    code: str = "not-granted"
    elsewhere: str = ""
    fails_at: Callable[[Grant, int], bool] | None = None


def interface_keys(grant: Grant, supplier: str) -> tuple[str, ...]:
    """The interfaces a grant names, as they stand in calls (`supplier/id`)."""
    return tuple(name if "/" in name else f"{supplier}/{name}" for name in grant.interfaces)


def _listed(names: object) -> str:
    return ", ".join(f"`{name}`" for name in names)  # type: ignore[attr-defined]


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _purpose_cedar(grant: Grant, _supplier: str) -> list[Est]:
    return [contains(strings(grant.purposes), context("purpose"))]


def _items_cedar(grant: Grant, _supplier: str) -> list[Est]:
    # INVARIANT: GRANTED-ITEMS-ONLY — what is asked for is within what was granted.
    return [{"containsAll": {"left": strings(grant.items), "right": context("items")}}]


def _time_cedar(grant: Grant, _supplier: str) -> list[Est]:
    return [
        {">=": {"left": context("now"), "right": {"Value": unix_seconds(grant.valid_from)}}},
        {"<": {"left": context("now"), "right": {"Value": unix_seconds(grant.valid_until)}}},
    ]


def _system_cedar(grant: Grant, _supplier: str) -> list[Est]:
    if not grant.systems:
        return []
    return [contains({"Set": [entity("System", name) for name in grant.systems]}, {"Var": "principal"})]


def _interface_cedar(grant: Grant, supplier: str) -> list[Est]:
    if not grant.interfaces:
        return []
    keys = {"Set": [entity("Interface", key) for key in interface_keys(grant, supplier)]}
    return [contains(keys, {"Var": "resource"})]


def _hours_cedar(grant: Grant, _supplier: str) -> list[Est]:
    if grant.hours is None:
        return []
    return [
        {">=": {"left": context("minuteOfDay"), "right": {"Value": grant.hours.start_minute}}},
        {"<": {"left": context("minuteOfDay"), "right": {"Value": grant.hours.end_minute}}},
    ]


def _parameters_cedar(grant: Grant, _supplier: str) -> list[Est]:
    return [
        {
            "containsAny": {
                "left": context("parameters"),
                "right": {
                    "Set": [{"Record": {"name": {"Value": name}, "value": {"Value": value}}} for value in values]
                },
            }
        }
        for name, values in sorted(grant.parameters.items())
    ]


def _assurance_cedar(grant: Grant, _supplier: str) -> list[Est]:
    if grant.assurance is None:
        return []
    return [{">=": {"left": context("assurance"), "right": {"Value": grant.assurance.rank}}}]


def _parameters_fail(grant: Grant, _dataset: Dataset, call: Call, _now_unix: int) -> bool:
    given = [name for name, _ in call.parameters]
    sent = {name: value for name, value in call.parameters if given.count(name) == 1}
    return bool(grant.parameters and call.unread) or any(
        sent.get(name) not in values for name, values in grant.parameters.items()
    )


def _hours_closed(grant: Grant, now_unix: int) -> bool:
    hours = grant.hours
    return hours is not None and not hours.start_minute <= minute_of_day(now_unix) < hours.end_minute


def _out_of_time(grant: Grant, now_unix: int) -> bool:
    return not unix_seconds(grant.valid_from) <= now_unix < unix_seconds(grant.valid_until)


def _interface_fails(grant: Grant, dataset: Dataset, call: Call, _now_unix: int) -> bool:
    return bool(grant.interfaces) and call.interface not in interface_keys(grant, dataset.supplier)


def _never_fails(_grant: Grant, _dataset: Dataset, _call: Call, _now_unix: int) -> bool:
    return False


def _quota_words(grant: Grant, _dataset: Dataset, _call: Call) -> Words:
    quota = grant.quota or Quota()
    limits = ((quota.calls_a_day, "calls", "次调用"), (quota.rows_a_day, "rows", "行数据"))
    return {
        "quota": ", ".join(f"{limit} {of} a day" for limit, of, _ in limits if limit is not None),
        "quota_zh": "、".join(f"每日 {limit} {of}" for limit, _, of in limits if limit is not None),
    }


def _hours_words(grant: Grant, _dataset: Dataset, _call: Call) -> Words:
    if grant.hours is None:
        return {"start": "", "end": ""}
    return {"start": _clock(grant.hours.start_minute), "end": _clock(grant.hours.end_minute)}


UPHELD: tuple[Upheld, ...] = (
    Upheld(
        "purpose",
        "Decree 809 Art. 25 ¶1",
        "its purposes are {purposes}",
        "授权目的为：{purposes}",
        lambda grant, _dataset, call, _now: call.purpose not in grant.purposes,
        _purpose_cedar,
        lambda grant, _dataset, _call: {"purposes": _listed(grant.purposes)},
        code="purpose-not-granted",
    ),
    Upheld(
        "items",
        "Decree 809 Art. 25 ¶1",
        "it does not give {missing}",
        "未授权的数据项：{missing}",
        lambda grant, _dataset, call, _now: call.items is not None and not set(call.items) <= set(grant.items),
        _items_cedar,
        lambda grant, _dataset, call: {"missing": _listed(sorted(set(call.items or ()) - set(grant.items)))},
        code="items-not-granted",
    ),
    Upheld(
        "mode",
        "Decree 809 Art. 22",
        "its sharing modes are {modes}",
        "授权的共享方式为：{modes}",
        lambda grant, _dataset, call, _now: call.mode not in grant.modes,
        words=lambda grant, _dataset, _call: {"modes": _listed(mode.value for mode in grant.modes)},
        code="mode-not-granted",
        elsewhere="the permit's action",
    ),
    Upheld(
        "system",
        "Decree 809 Art. 25 ¶1",
        "it is for other systems of the department",
        "该授权限于本部门的其他系统",
        lambda grant, _dataset, call, _now: bool(grant.systems) and call.system not in grant.systems,
        _system_cedar,
        code="system-not-granted",
    ),
    Upheld(
        "interface",
        "Decree 809 Art. 20",
        "it is for the interfaces {interfaces}",
        "该授权限于接口：{interfaces}",
        _interface_fails,
        _interface_cedar,
        lambda grant, dataset, _call: {"interfaces": _listed(interface_keys(grant, dataset.supplier))},
        code="system-not-granted",
    ),
    Upheld(
        "parameters",
        "Decree 809 Art. 15",
        "it asks for {parameters}, once, and for no body or path that the interface's entry does not describe",
        "请求须恰带一次参数：{parameters}，且不得带有接口目录未说明的请求体或路径",
        _parameters_fail,
        _parameters_cedar,
        lambda grant, _dataset, _call: {
            "parameters": _listed(f"{name}={'|'.join(values)}" for name, values in sorted(grant.parameters.items()))
        },
        code="parameters-not-granted",
    ),
    Upheld(
        "assurance",
        "Decree 809 Art. 35",
        "the credential is not bound to its sender as the grade or the grant asks",
        "凭证未按数据等级或授权要求与发送方绑定",
        lambda grant, _dataset, call, _now: grant.assurance is not None and call.assurance.rank < grant.assurance.rank,
        _assurance_cedar,
        code="assurance-too-low",
    ),
    Upheld(
        "combination",
        "Decree 809 Art. 25 ¶2",
        "with what was lately drawn or verified, for whatever purpose, here or by whom a rule counts along, the data "
        "may not be combined under it",
        "与近期获取或者核验的数据（不论声明何种目的，规则一并计算的其他部门所得亦计入）汇聚，超出该授权允许的组合",
        _never_fails,
        elsewhere="the convergence rules of the static layers, which read `context.grant.combination`",
    ),
    Upheld(
        "hours",
        "Decree 809 Art. 15",
        "it holds from {start} to {end}, China Standard Time",
        "每日有效时段为 {start} 至 {end}（北京时间）",
        lambda grant, _dataset, _call, now_unix: _hours_closed(grant, now_unix),
        _hours_cedar,
        _hours_words,
        fails_at=_hours_closed,
        code="outside-hours",
    ),
    Upheld(
        "quota",
        "Decree 809 Art. 15",
        "its quota of today is used up: {quota}",
        "当日额度已用尽：{quota_zh}",
        _never_fails,
        words=_quota_words,
        code="quota-exhausted",
        elsewhere="the meter, which every worker and node draws on after the decision",
    ),
    Upheld(
        "time",
        "Decree 809 Art. 20",
        "it holds from {from} until {until}",
        "有效期自 {from} 起至 {until} 止",
        lambda grant, _dataset, _call, now_unix: _out_of_time(grant, now_unix),
        _time_cedar,
        lambda grant, _dataset, _call: {
            "from": grant.valid_from.isoformat(timespec="seconds"),
            "until": grant.valid_until.isoformat(timespec="seconds"),
        },
        code="grant-expired",
        fails_at=_out_of_time,
    ),
)
"""One row a condition, in the order of `gateway.domain.conditions.CONDITIONS`."""


def permit_conditions(grant: Grant, supplier: str) -> list[Est]:
    """What the grant's permit asks for, each a condition of its own.

    Cedar joins them in this order, and a nested expression takes longer to parse.
    """
    return [est for row in UPHELD for est in row.cedar(grant, supplier)]


def turning_points(grant: Grant, supplier: str) -> TimeUse:
    """When the grant's permit can turn by time alone, read from its Cedar."""
    bodies = [{"kind": "when", "body": est} for est in permit_conditions(grant, supplier)]
    return time_use({"conditions": bodies})


def holds_in_time(grant: Grant, now_unix: int) -> bool:
    """Whether every condition that looks at time alone holds at `now_unix`."""
    return not any(row.fails_at(grant, now_unix) for row in UPHELD if row.fails_at is not None)


def upheld(name: str) -> Upheld:
    """The row of a condition.

    Raises:
        KeyError: if it has none.
    """
    return next(row for row in UPHELD if row.name == name)


def check_rows(declared: tuple[Condition, ...], rows: tuple[Upheld, ...]) -> None:
    """Hold both tables to one list of conditions, when the gateway starts.

    Raises:
        ValueError: where a condition that is declared is not upheld, or the other way round.
    """
    if [row.name for row in declared] != [row.name for row in rows]:
        raise ValueError("a condition of a grant is declared and not upheld, or upheld and not declared")


check_rows(CONDITIONS, UPHELD)
