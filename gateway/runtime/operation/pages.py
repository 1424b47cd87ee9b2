"""The pages of `docs/` that are made from the code: settings, problems, metrics, the law.

`python -m gateway.runtime.operation.pages docs` writes them; a test holds the committed pages to what would be written.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from gateway.domain.errors import PROBLEMS
from gateway.runtime.operation.law import law_page
from gateway.runtime.settings import FORMAT, RESERVED, Section, Settings
from gateway.runtime.telemetry.coarse import STEP
from gateway.runtime.telemetry.families import FAMILIES, Kind

MADE = "Made by `python -m gateway.runtime.operation.pages docs` from the code; change it there.\n"


def settings_page() -> str:
    """Every setting: name, type, default, words."""
    lines = [
        "# Settings",
        "",
        MADE,
        f"`gateway.toml` in the home, format {FORMAT}, under the environment: `GATEWAY_<SECTION>__<NAME>`, where",
        "commas stand between the members of a list or table, `=` after a table's names. Unknown names are refused,",
        "with the nearest known one, and so is a newer format.",
        "",
        f"Not settings, but read from the environment: {', '.join(f'`{name}`' for name in sorted(RESERVED))}.",
    ]
    for name, field in Settings.model_fields.items():
        if not isinstance(field.default, Section):
            continue
        section = type(field.default)
        lines += ["", f"## `[{name}]`", "", (section.__doc__ or "").strip(), ""]
        lines += ["| Name | Type | Default | What |", "|---|---|---|---|"]
        for key, inner in section.model_fields.items():
            bounds = _bounds(inner.metadata)
            lines.append(
                f"| `{key}` | {_type(inner.annotation)}{bounds} | {_default(inner.default)} | {inner.description} |"
            )
    return "\n".join(lines) + "\n"


def problems_page() -> str:
    """Every problem code: status, meaning, advice."""
    lines = [
        "# Problems",
        "",
        MADE,
        "Every refusal of the data plane and of the control plane is an RFC 9457 problem (`application/problem+json`)",
        "whose `type` is `/problems/<code>`; `Accept-Language` chooses English or Chinese. Where a use record was",
        "opened, `instance` names it.",
        "",
        "| Code | Status | Meaning | What to do | 含义 | 处理办法 |",
        "|---|---|---|---|---|---|",
    ]
    for code, problem in sorted(PROBLEMS.items(), key=lambda row: (row[1].status, row[0])):
        wait = f" (`Retry-After: {problem.retry_after_seconds}`)" if problem.retry_after_seconds is not None else ""
        cells = (problem.title, problem.advice + wait, problem.title_zh, problem.advice_zh)
        lines.append(f"| `{code}` | {problem.status} | {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def metrics_page() -> str:
    """Every metric: type, labels, words."""
    lines = [
        "# Metrics",
        "",
        MADE,
        "`GET /metrics` on the control plane gives those of all processes of one gateway, added up, to whoever bears",
        "the scrape credential (`metrics.credential_file`; by default `metrics-credential` in the home). Labels come",
        "from the directory and from fixed tables, never from a caller. Rules and dashboard: `deploy/prometheus`,",
        "`deploy/grafana`.",
        "",
        f"What tells of uses (marked `*`) moves in steps of {STEP} calls by label set or more, rows and bytes with the",
        "permitted calls of their interface: so that no single use can be read off (Decree 809 Art. 36). What tells of",
        "none and moves with each moves in the steps that stand behind it: counts when so many more were counted,",
        "gauges rounded down. What is exact is in the records.",
        "",
        "| Name | Type | Labels | What |",
        "|---|---|---|---|",
    ]
    for family in FAMILIES.values():
        kind = family.kind.value if family.kind in {Kind.COUNTER, Kind.HISTOGRAM} else "gauge"
        labels = ", ".join(f"`{label}`" for label in family.labels)
        mark = " *" if family.of_uses else ""
        steps = f" In steps of {family.step:,.0f}." if family.step else ""
        lines.append(f"| `{family.name}`{mark} | {kind} | {labels} | {family.help}{steps} |")
    return "\n".join(lines) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "problems.md": problems_page,
    "metrics.md": metrics_page,
    "law.md": law_page,
}


def _type(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin is tuple:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return f"table of text by {_type(inner[0])}"
    if origin is UnionType:
        return " or ".join(_type(one) for one in inner if one is not type(None))
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return f"table of {', '.join(f'`{name}`' for name in annotation.model_fields)}"
    return {str: "text", int: "integer", float: "number", bool: "true or false", Path: "path"}[annotation]


def _bounds(metadata: list[Any]) -> str:
    words = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [
        f"{sign} {getattr(rule, name)}" for rule in metadata for name, sign in words.items() if hasattr(rule, name)
    ]
    return f", {', '.join(found)}" if found else ""


def _default(value: object) -> str:
    if value is None:
        return "unset"
    if value == {}:
        return "none"
    if isinstance(value, tuple):
        return "`" + ", ".join(map(str, value)) + "`" if value else "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def main(folder: Path) -> None:
    """Write the pages into `folder`."""
    for name, page in PAGES.items():
        (folder / name).write_text(page(), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
