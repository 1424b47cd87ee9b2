"""`gateway orders`: stops that reach wider than one grant (Decree 809 Art. 27 ¶2, 35)."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from gateway.cli.shell import (
    DEFAULT_HOME,
    AsJson,
    AsOfficer,
    Home,
    IfMatch,
    command,
    matching,
    open_api,
    out,
    print_json,
    print_table,
)

orders = typer.Typer(
    name="orders",
    help="Stop a system, a department, a dataset or a supplier: effective when the command returns.",
    no_args_is_help=True,
)


@orders.command("issue")
@command
def issue(
    reach: Annotated[str, typer.Argument(help="system, department, dataset or supplier.")],
    target: Annotated[str, typer.Argument(help="Its id.")],
    *,
    reason: Annotated[str, typer.Option(help="Why: the violation or incident.")],
    kind: Annotated[str, typer.Option(help="suspension, emergency or termination.")] = "suspension",
    rectify_by: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The date set for rectification.")
    ] = None,
    supplier: Annotated[str | None, typer.Option(help="Only this supplier's data.")] = None,
    subordinates: Annotated[
        bool | None,
        typer.Option("--subordinates/--not-subordinates", help="Stop the departments below it too (default)."),
    ] = None,
    consultation: Annotated[str | None, typer.Option(help="Record of consultation (Art. 27 ¶3).")] = None,
    filing: Annotated[str | None, typer.Option(help="Filing reference (Art. 27 ¶3).")] = None,
    report_due: Annotated[
        datetime | None, typer.Option(help="When an emergency's report is due, UTC; default in 24 hours.")
    ] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Order a stop: when this returns, not one more byte leaves under it."""
    body: dict[str, Any] = {"kind": kind, "reach": reach, "target": target, "reason": reason}
    optional = {
        "rectify_by": rectify_by.date().isoformat() if rectify_by else None,
        "supplier": supplier,
        "subordinates": subordinates,
        "consultation": consultation,
        "filing": filing,
        "report_due": report_due.replace(tzinfo=UTC).isoformat() if report_due else None,
    }
    body |= {name: value for name, value in optional.items() if value is not None}
    with open_api(home, officer) as api:
        answer = api.post("/v1/orders", body)
    if as_json:
        print_json(answer)
        return
    held = answer["barrier"]
    out.print(
        f"order `{answer['order']['id']}` stops {reach} `{target}`, effective everywhere after "
        f"{held['milliseconds']} ms ({len(held['confirmed'])} confirmed, {len(held['out'])} out)",
        markup=False,
    )


@orders.command("reach")
@command
def show_reach(
    reach: Annotated[str, typer.Argument(help="grant, system, department, dataset or supplier.")],
    target: Annotated[str, typer.Argument(help="Its id.")],
    *,
    supplier: Annotated[str | None, typer.Option(help="Only this supplier's data.")] = None,
    subordinates: Annotated[
        bool | None,
        typer.Option("--subordinates/--not-subordinates", help="With the departments below it (default)."),
    ] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Show what a stop would reach, before it is given: departments, systems, grants, and what needs no grant."""
    asked = {"reach": reach, "target": target, "supplier": supplier, "subordinates": subordinates}
    with open_api(home, officer) as api:
        found = api.get("/v1/orders/reach", **{name: value for name, value in asked.items() if value is not None})
    if as_json:
        print_json(found)
        return
    print_table(
        f"a stop of {reach} {target} reaches",
        ("what", "id", "of"),
        (
            *(("department", each, "") for each in found["departments"]),
            *(("system", each, "") for each in found["systems"]),
            *(("grant", each["id"], f"{each['department']}, {each['dataset']}") for each in found["grants"]),
            *(("without a grant", each["policy"], each["title"]) for each in found["without_grant"]),
        ),
    )
    if found["unseen"] or found["more"]:
        out.print(f"and {found['unseen']} grants that you may not see{', and more' if found['more'] else ''}")


@orders.command("list")
@command
def list_(
    in_force: Annotated[bool | None, typer.Option("--in-force/--lifted", help="Whether in force.")] = None,
    reach: Annotated[str | None, typer.Option(help="grant, system, department, dataset or supplier.")] = None,
    target: Annotated[str | None, typer.Option(help="Its id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Rows.")] = 1000,
    cursor: Annotated[str | None, typer.Option(help="`next` of the page before.")] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """List the orders you may see."""
    with open_api(home, officer) as api:
        page = api.get("/v1/orders", in_force=in_force, reach=reach, target=target, limit=limit, cursor=cursor)
    if as_json:
        print_json(page)
        return
    print_table(
        "orders",
        ("id", "kind", "reach", "target", "ordered", "by", "reason", "lifted"),
        (
            (
                order["id"],
                order["kind"],
                order["reach"],
                order["target"],
                order["ordered_at"][:10],
                order["ordered_by"],
                order["reason"],
                (order.get("lifted_at") or "")[:10],
            )
            for order in page["items"]
        ),
    )
    if page["next"]:
        out.print(f"more with --cursor {page['next']}", markup=False)


@orders.command("show")
@command
def show(
    order_id: Annotated[str, typer.Argument(help="The order's id.")],
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Show one order."""
    with open_api(home, officer) as api:
        order, tag = api.get_tagged(f"/v1/orders/{order_id}")
    order["etag"] = tag
    if as_json:
        print_json(order)
        return
    print_table(f"order {order['id']}", ("", ""), ((name, value) for name, value in order.items() if name != "id"))


@orders.command("lift")
@command
def lift(
    order_id: Annotated[str, typer.Argument(help="The order's id.")],
    reason: Annotated[str, typer.Option(help="Why, in words; it stands in the act's record.")],
    if_match: IfMatch = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Lift an order."""
    with open_api(home, officer) as api:
        answer = api.post(f"/v1/orders/{order_id}/lift", {"reason": reason}, headers=matching(if_match))
    if as_json:
        print_json(answer)
        return
    out.print(f"order `{order_id}` is lifted; record {answer['record']}", markup=False)


@orders.command("report")
@command
def report(
    order_id: Annotated[str, typer.Argument(help="The emergency's order.")],
    reference: Annotated[str, typer.Option(help="Under which the competent department received the report.")],
    if_match: IfMatch = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Report an emergency stop, of one grant or wider, in force or lifted (Art. 35)."""
    with open_api(home, officer) as api:
        answer = api.post(f"/v1/orders/{order_id}/report", {"reference": reference}, headers=matching(if_match))
    if as_json:
        print_json(answer)
        return
    out.print(f"emergency `{order_id}` is reported; record {answer['record']}", markup=False)
