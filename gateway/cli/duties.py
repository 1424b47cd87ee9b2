"""`gateway duties`: what waits for an officer, over all processes."""

from gateway.cli.shell import DEFAULT_HOME, AsJson, AsOfficer, Home, command, open_api, print_json, print_table


@command
def duties(home: Home = DEFAULT_HOME, officer: AsOfficer = None, as_json: AsJson = False) -> None:
    """List what waits for you: the overdue first, with the days left; dates that are not certain are marked."""
    with open_api(home, officer) as api:
        body = api.get("/v1/duties")
    if as_json:
        print_json(body)
        return
    print_table(
        "duties",
        ("due", "days left", "waits for", "process", "id", "what is owed", "article"),
        (
            (
                f"{each['due_on'] or ''}{' (provisional)' if each['provisional'] else ''}",
                ""
                if each["days_left"] is None
                else f"{each['days_left']}{' overdue' if each['days_left'] < 0 else ''}",
                each["waits_for"],
                each["process"],
                each["id"],
                each["duty"],
                each["article"],
            )
            for each in body["items"]
        ),
    )


def _left(days: int | None) -> str:
    return "" if days is None else f"{-days} overdue" if days < 0 else str(days)
