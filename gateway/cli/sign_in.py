"""`gateway sign-in` and `gateway sign-out`: a session of one's own, here or at a gateway elsewhere."""

import os
import sys
import webbrowser
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.shell import DEFAULT_HOME, AsJson, Home, Url, command, err, out, print_json, read_secret
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.runtime.operation.session.signing_in import Begun, Door

ByDevice = Annotated[
    bool, typer.Option("--device", help="Sign in on another device, by a code; for where there is no browser.")
]


@command
def sign_in(
    name: Annotated[
        str | None, typer.Option("--officer", help="Sign in by the password of this officer's local account.")
    ] = None,
    device: ByDevice = False,
    opens: Annotated[bool, typer.Option("--browser/--no-browser", help="Whether to open the browser.")] = True,
    url: Url = None,
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Begin a session of your own, by the OpenID provider or a password, and keep it in your own folder.

    With --url at a gateway elsewhere: every command that asks the control API then takes the same --url, and needs no
    home. A password is asked for, or read from standard input; so is the one-time code of an account that has one.
    """
    from gateway.runtime.operation.session.sessions import SessionFolder  # noqa: PLC0415 -- help needs none of it
    from gateway.runtime.operation.session.signing_in import find_door  # noqa: PLC0415 -- the same

    if name is not None and device:
        raise typer.BadParameter("say `--officer` for a password, or `--device` for the OpenID provider")
    folder = SessionFolder()
    with find_door(home, url) as door:
        begun = _by_password(door, folder, name) if name else _at_provider(door, device=device, opens=opens)
    session = begun.session
    folder.keep(session)
    ends = datetime.fromtimestamp(session.expires_unix, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if as_json:
        print_json({"officer": session.officer, "url": session.url, "expires": ends, "renews": session.renews})
        return
    more = ", renewed while it is used" if session.renews else ""
    out.print(f"signed in at {session.url} as `{session.officer}` until {ends}{more}", markup=False)
    for event in begun.told:
        at = datetime.fromtimestamp(event["at_unix"], UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        out.print(f"  about your account, {at}: {event['what']}, by {event['by']}", markup=False)


@command
def sign_out(
    everywhere: Annotated[bool, typer.Option("--everywhere", help="End every session of yours, wherever.")] = False,
    url: Url = None,
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """End the session that `gateway sign-in` began, and remove it from this machine."""
    from gateway.runtime.operation.session.sessions import SessionFolder  # noqa: PLC0415 -- help needs none of it
    from gateway.runtime.operation.session.signing_in import find_door, sign_out_away  # noqa: PLC0415 -- the same
    from gateway.runtime.operation.session.signing_in import sign_out as end  # noqa: PLC0415 -- the same

    folder = SessionFolder()
    try:
        door = find_door(home, url)
    except GatewayError as error:
        raise sign_out_away(folder, url, error) from error
    with door:
        ended = end(door, folder, everywhere=everywhere)
    if as_json:
        print_json(ended)
        return
    out.print(f"signed out at {door.issuer}; record {ended['record']}", markup=False)
    if ended.get("provider_sign_out"):
        out.print(f"at the OpenID provider itself you sign out at {ended['provider_sign_out']}", markup=False)


def _by_password(door: "Door", folder: Any, name: str) -> "Begun":
    from gateway.runtime.operation.session.signing_in import by_password  # noqa: PLC0415 -- help needs none of it

    if not door.ways.get("password"):
        raise GatewayError("unavailable", f"{door.issuer} has no local accounts: leave `--officer` out")
    password = read_secret(f"password of {name} at {door.issuer}")
    before = folder.find(door.issuer)
    device = before.device if before is not None and before.officer == name else ""
    try:
        return by_password(door, name, password, device, None)
    except GatewayError as error:
        if error.members.get("needs") != "one-time-code":
            raise
    return by_password(door, name, password, device, read_secret("one-time code of your authenticator"))


def _at_provider(door: "Door", *, device: bool, opens: bool) -> "Begun":
    from gateway.runtime.operation.session.signing_in import by_browser, by_device  # noqa: PLC0415 -- help needs none of it

    if not door.ways.get("provider"):
        raise GatewayError(
            "invalid-input", f"{door.issuer} has no OpenID provider: say `--officer NAME` for a password"
        )
    if device and door.ways.get("device") is False:
        raise GatewayError("invalid-input", "the OpenID provider does not let other devices sign in: leave it out")
    # A browser that is opened through a remote shell is on the wrong machine, and so would the answer be.
    if device or (door.ways.get("device") and "SSH_CONNECTION" in os.environ and opens):
        return by_device(door, _show_code)

    def show(page: str, words: str) -> None:
        err.print(f"sign in in your browser, at\n\n    {page}\n", markup=False)
        err.print(f"and go on there only if it shows: {words}", markup=False)
        if opens:
            webbrowser.open(page)

    return by_browser(door, show)


def _show_code(asked: dict[str, Any]) -> None:
    page = asked.get("verification_uri_complete") or asked["verification_uri"]
    err.print(f"on any device, open\n\n    {page}\n", markup=False)
    err.print(f"and go on there only if it asks for this code, or shows it: {asked['user_code']}", markup=False)
    sys.stderr.flush()
