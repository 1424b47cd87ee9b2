"""`gateway grants list | show | figures | overdue | lifecycle`: what stands, what is due, and who may do what."""

from typing import Annotated, Any

import typer
from msgspec import to_builtins

from gateway.cli.grants.acts import GrantId
from gateway.cli.shell import (
    DEFAULT_HOME,
    AsJson,
    AsOfficer,
    Home,
    command,
    home_at,
    is_elsewhere,
    open_api,
    out,
    print_json,
    print_table,
)
from gateway.domain.lifecycle import LIFECYCLE


@command
def list_(
    *,
    state: Annotated[
        list[str] | None,
        typer.Option(help="issued, suspended, terminated, closed, disposed; or one of active, not-yet-valid, expired."),
    ] = None,
    department: Annotated[str | None, typer.Option(help="Demand department.")] = None,
    supplier: Annotated[str | None, typer.Option(help="Supply department.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset.")] = None,
    expires_within: Annotated[int | None, typer.Option(help="Days within which it expires.")] = None,
    disputed: Annotated[bool | None, typer.Option("--disputed/--undisputed", help="Whether disputed.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Rows.")] = 100,
    cursor: Annotated[str | None, typer.Option(help="`next` of the page before.")] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """List the grants you may see."""
    with open_api(home, officer) as api:
        page = api.get(
            "/v1/grants",
            state=state or None,
            department=department,
            supplier=supplier,
            dataset=dataset,
            expires_within_days=expires_within,
            disputed=disputed,
            limit=limit,
            cursor=cursor,
        )
    if as_json:
        print_json(page)
        return
    print_table(
        "grants",
        ("id", "department", "dataset", "items", "purposes", "state", "until"),
        (
            (
                grant["id"],
                grant["department"],
                grant["dataset"],
                ", ".join(grant["items"]),
                ", ".join(grant["purposes"]),
                grant.get("state", "issued") + (", disputed" if grant.get("disputed") else ""),
                grant["valid_until"][:10],
            )
            for grant in page["items"]
        ),
    )
    if page["next"]:
        out.print(f"more with --cursor {page['next']}", markup=False)


@command
def show(grant_id: GrantId, home: Home = DEFAULT_HOME, officer: AsOfficer = None, as_json: AsJson = False) -> None:
    """Show a grant, the orders on it, its disposal duty and its versions."""
    with open_api(home, officer) as api:
        body, tag = api.get_tagged(f"/v1/grants/{grant_id}")
    body["etag"] = tag
    if as_json:
        print_json(body)
        return
    grant = body["grant"]
    rows = [("standing", body["standing"]), ("etag", tag), ("supplier", body["supplier"])]
    rows += [(name, _shown(value)) for name, value in grant.items() if name != "id"]
    rows += [
        (
            f"order {order['id']}",
            f"{order['kind']}: {order['reason']}" + (" (lifted)" if order.get("lifted_at") else ""),
        )
        for order in body["orders"]
    ]
    if body["disposal"]:
        rows.append(("disposal due", body["disposal"]["due_on"]))
    print_table(f"grant {grant['id']}", ("", ""), rows)


@command
def figures(
    supplier: Annotated[str | None, typer.Option(help="Supply department.")] = None,
    department: Annotated[str | None, typer.Option(help="Demand department.")] = None,
    within: Annotated[int, typer.Option(help="Days that `expiring` looks ahead.")] = 30,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Count grants by state, expiring, and overdue rectifications and disposals (Decree 809 Art. 38)."""
    with open_api(home, officer) as api:
        body = api.get("/v1/figures", supplier=supplier, department=department, within_days=within)
    if as_json:
        print_json(body)
        return
    rows = [(f"grants {state}", count) for state, count in body.pop("grants").items()]
    rows += [(f"orders in force: {kind}", count) for kind, count in body.pop("orders_in_force").items()]
    rows += [(name.replace("_", " "), value) for name, value in body.items() if name != "at"]
    print_table(f"figures of {body['at'][:19]}", ("", ""), rows)


@command
def overdue(
    supplier: Annotated[str | None, typer.Option(help="Supply department.")] = None,
    department: Annotated[str | None, typer.Option(help="Demand department.")] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """List overdue rectifications, reports and disposals one by one (Decree 809 Art. 27, 35)."""
    with open_api(home, officer) as api:
        body = api.get("/v1/figures/overdue", supplier=supplier, department=department)
    if as_json:
        print_json(body)
        return
    rows = [("rectification", order["rectify_by"], _target(order), order["id"]) for order in body["rectifications"]]
    rows += [("report", order["report_due"][:16], _target(order), order["id"]) for order in body["reports"]]
    rows += [("disposal", duty["due_on"], f"grant {duty['grant']}", "") for duty in body["disposals"]]
    print_table("overdue", ("what", "was due", "of", "order"), rows)


@command
def lifecycle(
    layer: Annotated[
        list[str] | None, typer.Option("--layer", help="A policy layer, repeated in order; default: national.")
    ] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Print the table of a grant's states and acts: who may do each by the policies, and by which article.

    Who may is asked of the policies in force in the home; without a home, or with --layer, of the shipped ones.
    """
    if layer is None and (is_elsewhere() or home_at(home).settings_file.exists()):
        with open_api(home, officer) as api:
            rows = api.get("/v1/grants/lifecycle")["items"]
    else:
        from gateway.policy.law.layers import default_policies_root, load_layers  # noqa: PLC0415 -- loads Cedar
        from gateway.policy.live.powers import powers  # noqa: PLC0415 -- the same

        layers = load_layers(default_policies_root(), layer or ["national"])
        rows = [
            {**row, "who": to_builtins(powers(layers, step.acts, 0))}
            for step, row in zip(LIFECYCLE, to_builtins(LIFECYCLE), strict=True)
        ]
    if as_json:
        print_json(rows)
        return
    print_table(
        "a grant's life",
        ("step", "Cedar action", "who may", "from", "to", "must state", "article", "effect"),
        (
            (
                row["name"],
                " or ".join(act for act in (row["act"], row["or_act"]) if act),
                _who(row),
                ", ".join(row["before"]) or "nothing",
                row["after"] or "unchanged",
                ", ".join(row["states"]) or "nothing",
                row["article"],
                row["effect"],
            )
            for row in rows
        ),
    )


def _who(row: dict[str, Any]) -> str:
    """Who may, in a cell: one word a side, and for the competent department of whose region if not of both."""
    if not row["act"]:
        return "time"
    found = [power["who"] for power in row["who"]]
    regions = [who for who in found if who.startswith("competent department of ")]
    if len(regions) > 1:
        found = [who for who in found if who not in regions] + ["competent department"]
    return ", ".join(found) or "nobody"


def _target(order: dict[str, Any]) -> str:
    return f"{order['reach']} {order['target']}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(each)}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
