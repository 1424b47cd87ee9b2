"""The console on the control plane's own listener: `/console`, unless the settings leave it out."""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from msgspec import to_builtins
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.control.act.services import ControlServices
from gateway.ledger.log.notes import parse_verifier_key
from gateway.ledger.log.proofs import parse_proof
from gateway.ledger.verify.record import verify_record
from gateway.runtime.settings import ControlSettings

log = logging.getLogger("gateway.control")


def serve_console(app: FastAPI, services: ControlServices, settings: ControlSettings, issuer: str) -> None:
    """Serve the console's pages beside the API that they ask.

    Args:
        app: the control plane's application.
        services: for what seals the browser's cookie.
        settings: whether there is a console.
        issuer: the control plane's public base URL, which says whether browsers come over https.
    """
    if not settings.console:
        return

    async def check_proof(proof: bytes, record: str, key: str) -> Mapping[str, Any] | None:
        if not key:
            key = (await services.ledger.status()).verifier_key
            if parse_verifier_key(key).name != parse_proof(proof).checkpoint.decode().partition("\n")[0]:
                return None
        found: Mapping[str, Any] = to_builtins(verify_record(proof, key, record=record))
        return found

    try:
        from gateway.console.app import create_console  # noqa: PLC0415 -- see below
    except ModuleNotFoundError as error:
        # An installation whose packages are older than the console serves what it did before, and says so.
        log.error("there is no console: `%s` is not installed; install the gateway's dependencies anew", error.name)
        return
    console = create_console(
        app,
        seal=services.seal,
        unseal=services.unseal,
        now=services.now,
        is_secure=issuer.startswith("https://"),
        check_proof=check_proof,
    )

    async def first_page(_request: Request) -> Response:
        return RedirectResponse("/console/", 303)

    app.add_route("/console", first_page, include_in_schema=False)
    app.mount("/console", console)
