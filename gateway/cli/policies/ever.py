"""`gateway policies can`: whether a dataset can ever be obtained, as things stand."""

from typing import Annotated, Any

import typer

from gateway.cli.shell import DEFAULT_HOME, AsJson, AsOfficer, Home, command, open_api, out, print_json


@command
def can(
    dataset: Annotated[str, typer.Option(help="The dataset.")],
    department: Annotated[
        str | None, typer.Option(help="By whom; default: by each department that you may ask about.")
    ] = None,
    item: Annotated[str | None, typer.Option(help="An item that is to be let out.")] = None,
    purpose: Annotated[str | None, typer.Option(help="The declared purpose.")] = None,
    mode: Annotated[str | None, typer.Option(help="query, verify, batch or download.")] = None,
    chinese: Annotated[bool, typer.Option("--chinese", "--zh", help="In Chinese.")] = False,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a dataset can ever be obtained, by what is in force and stands: never, with why, or an example.

    `never` is proved of every request there can be, for which the gateway needs what `prove` needs, or follows from
    there being no permit at all. An example is a call that the engine permits.
    """
    asked = {"department": department, "dataset": dataset, "item": item, "purpose": purpose, "mode": mode}
    with open_api(home, officer) as api:
        answer = api.get("/v1/policies/possible", **{name: value for name, value in asked.items() if value is not None})
    if as_json:
        print_json(answer)
        return
    for line in possibility_lines(answer, chinese=chinese):
        out.print(line, markup=False)


def possibility_lines(answer: dict[str, Any], *, chinese: bool) -> list[str]:
    """The API's answer in lines for people."""
    lines = [line for found in answer["found"] for line in _found_lines(found, chinese=chinese)]
    for field, english, zh in (
        ("not_looked", "departments were not looked at: the time was over", "个部门因时间已到未予查看"),
        ("not_shown", "departments are not yours to ask about", "个部门不属您可以查询的范围"),
    ):
        if answer[field]:
            lines.append(f"{answer[field]} {zh if chinese else english}")
    return lines


_OUTCOMES = {
    ("possible", ""): ("possible, for example", "可能，例如"),
    ("never", "gateway"): ("never: no policy is asked", "永不可能：无须询问策略"),
    ("never", "no-permit"): ("never: there is no permit", "永不可能：没有任何许可"),
    ("never", "solver"): ("never: proved of every request there can be", "永不可能：已就一切可能的请求证明"),
    ("not-found", ""): (
        "no permit found, not proved: calls of every kind were put to the policies",
        "未找到许可，未经证明：已以各类调用询问策略",
    ),
    ("unknown", ""): (
        "unknown: no permit found, and not every kind of call was looked at",
        "未知：未找到许可，且未查看所有种类的调用",
    ),
}

_UNPROVED = {
    "no-solver": ("not proved here: the programs that prove are missing", "此处未证明：缺少证明程序"),
    "not-proved": ("the solver proves nothing of it", "求解器未能证明"),
    "": ("", ""),
}


def _found_lines(found: dict[str, Any], *, chinese: bool) -> list[str]:
    told = _OUTCOMES[found["outcome"], found["by"]][chinese]
    alike = found["alike"]
    like = (f"，{'、'.join(alike)} 亦同" if chinese else f", and alike {', '.join(alike)}") if alike else ""
    lines = [f"{found['department']}{like}: {told}"]
    if found["tools"]:
        lines.append(f"  {'证明程序' if chinese else 'by'}: {', '.join(found['tools'])}")
    if found["unproved"]:
        lines.append(f"  {_UNPROVED[found['unproved']][chinese]}")
    if found["example"] is not None:
        lines += _example_lines(found["example"], chinese=chinese)
    lines += _cause_lines(found, chinese=chinese)
    if found["obtaining"] is not None:
        told = _OUTCOMES[found["obtaining"]["outcome"], found["obtaining"]["by"]][chinese]
        lines.append(f"  {'仅可核验；获取数据' if chinese else 'compared alone; that values leave'}: {told}")
        lines += [f"  {line}" for line in _cause_lines(found["obtaining"], chinese=chinese)]
    return lines


def _cause_lines(of: dict[str, Any], *, chinese: bool) -> list[str]:
    lines = []
    for cause in of["causes"]:
        resting = "; ".join(([cause["id"]] if cause["kind"] not in ("grant", "no-rule") else []) + cause["articles"])
        sentence = cause["sentence"]["zh" if chinese else "en"]
        lines.append(f"  - {sentence}{f' ({resting})' if resting else ''}")
    return lines


def _example_lines(example: dict[str, Any], *, chinese: bool) -> list[str]:
    rows = [
        ("at", "时间", example["at"]),
        ("system", "系统", f"{example['system']} ({example['assurance']})"),
        ("call", "调用", f"{example['interface']}, {example['mode']}, {example['purpose']}"),
        ("with", "参数", ", ".join(f"{name}={value}" for name, value in example["parameters"].items())),
        ("under grant", "依据授权", example["grant"] or ""),
        ("by", "依据策略", ", ".join(example["policies"])),
        ("gives", "可提供的数据项", ", ".join(example["gives"])),
        ("masked", "脱敏", ", ".join(f"{name}={mask}" for name, mask in example["masks"].items())),
        *(("provided that", "前提", need["zh" if chinese else "en"]) for need in example["needs"]),
    ]
    return [f"  {zh if chinese else english}: {value}" for english, zh, value in rows if value]
