"""/v1/directory: the directory as a file, out and in again (Decree 809 Art. 12 to 17)."""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from gateway.control.act.acting import IdempotencyKey, Services, SignedIn, matter_between, require_any
from gateway.control.act.bodies import read_json, takes
from gateway.control.act.examples import DATASET, DEPARTMENT, INTERFACE, PURPOSE
from gateway.control.act.paging import json_response
from gateway.control.act.preconditions import IfMatch, require_tag
from gateway.control.act.services import ControlServices
from gateway.control.directory.importing import check_directory, read_upload
from gateway.control.directory.routes import Revives, import_once, shown_interface
from gateway.domain.officers import Act, Officer
from gateway.store import StoreTransaction
from gateway.store.directory.dcat import export_dcat
from gateway.store.directory.exporting import export_csv, export_json, export_xlsx
from gateway.store.directory.file import DirectoryFile
from gateway.store.directory.rows import DirectoryRows

router = APIRouter(prefix="/v1/directory", tags=["directory"])

CSV_TYPE = "text/csv; charset=utf-8"
XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
Check = Annotated[bool, Query(description="say what it would do and list every fault; change nothing")]


class DirectoryFormat(StrEnum):
    """What the directory is exported as."""

    JSON = "json"
    CSV = "csv"
    XLSX = "xlsx"
    DCAT = "dcat"


@router.get("", summary="The directory as a file")
def export_file(
    request: Request,
    services: Services,
    officer: SignedIn,
    format: DirectoryFormat = DirectoryFormat.JSON,  # noqa: A002
) -> Response:
    """What is released: JSON that import takes, CSV or a workbook with the Chinese column names, or DCAT 3.

    The `ETag` is for the `If-Match` of an import of this file, changed or not; a CSV's is about the entries
    alone, a workbook's about all but interfaces.
    """
    rows = services.store.directory_rows()
    found = rows.file()
    if format is DirectoryFormat.CSV:
        content = export_csv(found.datasets, found.departments)
        return Response(content, headers=tagged(rows.entries()), media_type=CSV_TYPE)
    if format is DirectoryFormat.XLSX:
        return Response(export_xlsx(found), headers=tagged(rows.without_interfaces()), media_type=XLSX_TYPE)
    if format is DirectoryFormat.DCAT:
        catalog = export_dcat(
            found.datasets,
            departments=found.departments,
            interfaces=found.interfaces,
            base=str(request.base_url).rstrip("/"),
        )
        return Response(msgspec.json.encode(catalog), headers=tagged(rows), media_type="application/ld+json")
    shown = tuple(shown_interface(services, officer, each) for each in found.interfaces)
    shown_file = export_json(msgspec.structs.replace(found, interfaces=shown))
    return Response(shown_file, headers=tagged(rows), media_type="application/json")


@dataclass(frozen=True, slots=True)
class FileGuard:
    """The guard of a whole file: about what the file names, or about the whole directory as it was exported.

    Args:
        if_match: the field, if it was sent.
    """

    if_match: str | None

    def require(self, tx: StoreTransaction, found: DirectoryFile) -> None:
        """Raises `precondition-failed` where what `found` names has changed, and so has the directory as a whole.

        The whole is looked at last: it is asked for where a file lost rows on its way from the export to here.
        """
        tags = [lambda: tx.named_rows(found).tag, lambda: tx.directory_rows().tag]
        if found.plain == DirectoryFile(datasets=found.datasets, skipped=found.skipped):
            # As a sheet was exported. Of a file with more, entries alone would not tell what became of the rest.
            tags.append(lambda: tx.directory_rows().entries().tag)
        elif not found.interfaces:
            tags.append(lambda: tx.directory_rows().without_interfaces().tag)
        require_tag(self.if_match, *tags)

    @staticmethod
    def tagged(tx: StoreTransaction, found: DirectoryFile) -> dict[str, str]:
        """The header field that names the state of what `found` names."""
        return tagged(tx.named_rows(found))


@router.post(
    "",
    summary="Import a directory file, whole or not at all",
    openapi_extra=takes(
        "a directory: lists of what is new or changed, or a spreadsheet or CSV file by name and content",
        {"departments": [DEPARTMENT], "purposes": [PURPOSE], "datasets": [DATASET], "interfaces": [INTERFACE]},
    ),
)
async def import_file(
    request: Request,
    services: Services,
    officer: SignedIn,
    release: Annotated[bool, Query(description="release what is submitted; takes the right to release")] = True,
    check: Check = False,
    revives: Revives = False,
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """Import `{"departments", "purposes", "datasets", "interfaces"}`, or `{"file": name, "content_base64": …}`.

    `If-Match` is about what the file names (the `ETag` of its check, or of the import before) or about the directory
    as it was exported: the import is refused if another officer changed that meanwhile. What a file does not name it
    does not change.
    """
    raw = await read_json(request)
    guard = FileGuard(if_match)
    return await run_in_threadpool(_import_file, request, services, officer, raw, release, check, revives, guard, key)


def _import_file(
    request: Request,
    services: ControlServices,
    officer: Officer,
    raw: bytes,
    release: bool,
    check: bool,
    revives: bool,
    guard: FileGuard,
    key: str | None,
) -> Response:
    # A sheet takes long to read: only for who may import something.
    require_any(
        services,
        officer,
        (Act.MANAGE_DEPARTMENTS, Act.SUBMIT_ENTRY, Act.MANAGE_INTERFACES),
        matter_between(services.store, officer.department, None),
    )
    found = read_upload(services.store, raw, services.spool)
    if check:
        tags: dict[str, str] = {}

        def look(tx: StoreTransaction) -> None:
            guard.require(tx, found)
            tags.update(guard.tagged(tx, found))

        return json_response(check_directory(services, officer, found, release=release, look=look), headers=tags)
    digest = sha256(raw).hexdigest()
    return import_once(request, services, officer, key, found, digest, release=release, guard=guard, revives=revives)


def tagged(rows: DirectoryRows) -> dict[str, str]:
    """The header field that names the state of rows of the directory."""
    return {"ETag": f'"{rows.tag}"'}
