"""/log: the log itself as C2SP tlog-tiles. Checkpoint and hash tiles are public; entries take an auditor's right."""

import re
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from gateway.control.act.acting import Services, SignedIn, matter_of_gateway, require_permit
from gateway.control.act.services import ControlServices
from gateway.control.records.readings import reading_of
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Officer
from gateway.domain.uses import RecordKind
from gateway.ledger.log.minimum import minimum_index as first_leaf

router = APIRouter(prefix="/log", tags=["the log"])

_NUMBER = r"(?:x[0-9]{3}/){0,8}[0-9]{3}(?:\.p/(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9][0-9]?))?"
_TILE = re.compile(rf"(?:[0-9]|[1-5][0-9]|6[0-3])/{_NUMBER}")
_BUNDLE = re.compile(_NUMBER)

TilePath = Annotated[str, Path(max_length=80)]


@router.get("/checkpoint", summary="The signed checkpoint")
async def checkpoint(services: Services) -> Response:
    """The newest signed note of the log (tlog-checkpoint)."""
    try:
        note = await run_in_threadpool((services.tree / "checkpoint").read_bytes)
    except OSError as error:
        raise GatewayError("not-found", "nothing is in the log yet") from error
    return Response(note, media_type="text/plain; charset=utf-8", headers={"Cache-Control": "public, max-age=2"})


@router.get("/minimum-index", summary="The first entry that is still there")
async def minimum_index(services: Services) -> Response:
    """The first leaf whose entry retention has not removed, in decimal; its hash and those before it stay."""
    leaf = await run_in_threadpool(first_leaf, services.tree)
    headers = {"Cache-Control": "public, max-age=60"}
    return Response(f"{leaf}\n", media_type="text/plain; charset=utf-8", headers=headers)


@router.get("/tile/entries/{path:path}", summary="A bundle of entries")
async def entries(services: Services, officer: SignedIn, path: TilePath) -> Response:
    """Up to 256 entries as they stand in the log. The reading is recorded."""
    if _BUNDLE.fullmatch(path) is None:
        raise GatewayError("not-found", "this is no tile of the log")
    await run_in_threadpool(_read_log, services, officer, path)
    return await _tile(services, f"entries/{path}", "private, max-age=3600")


@router.get("/tile/{path:path}", summary="A tile of hashes")
async def tile(services: Services, path: TilePath) -> Response:
    """Up to 256 hashes of one level; they say nothing of what they are hashes of."""
    if _TILE.fullmatch(path) is None:
        raise GatewayError("not-found", "this is no tile of the log")
    return await _tile(services, path, "public, max-age=31536000, immutable")


async def _tile(services: ControlServices, path: str, cache: str) -> Response:
    try:
        content = await run_in_threadpool((services.tree / "tile" / path).read_bytes)
    except OSError:
        content = await _asked_tile(services, path)
    return Response(content, media_type="application/octet-stream", headers={"Cache-Control": cache})


async def _asked_tile(services: ControlServices, path: str) -> bytes:
    """The tile as the ledger cuts it out of a wider one; what the ledger says of its files stays inside."""
    try:
        return await services.ledger.tile(f"tile/{path}")
    except GatewayError as error:
        if error.code == "not-found":
            raise GatewayError("not-found", "this tile is not in the log") from error
        if error.code == "conflict":
            raise GatewayError("conflict", "this tile of the log is damaged") from error
        raise


def _read_log(services: ControlServices, officer: Officer, path: str) -> None:
    """Permit and record the reading of a bundle, which is whole: only for who may read every record there is.

    Whoever may read some reads them one by one, with proofs (`/v1/records/{id}/proof`).
    """
    matter = matter_of_gateway(services.store)
    for act in (Act.READ_LOG, Act.CONSULT_RECORDS, Act.CONSULT_WATCHING):
        require_permit(services, officer, act, matter)
    services.acts.append(
        RecordKind.CONSULTATION,
        {
            **reading_of(officer, {}),
            "act": Act.READ_LOG.value,
            "officer": officer.id,
            "officer_department": officer.department,
            "bundle": path,
        },
    )
