"""/v1/departments, /v1/purposes, /v1/datasets and /v1/interfaces (Decree 809 Art. 12 to 17)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import Field

from gateway.control.act.acting import (
    Answer,
    Deed,
    IdempotencyKey,
    Services,
    SignedIn,
    is_permitted,
    matter_between,
    perform,
    require_permit,
)
from gateway.control.act.bodies import Body, EntryId, Slug, Statement, body_model, body_of, describes, model_of
from gateway.control.act.examples import DATASET, DEPARTMENT, DERIVATION, PURPOSE
from gateway.control.act.pages import Pages
from gateway.control.act.paging import json_response, page_response
from gateway.control.act.preconditions import IfMatch, entity_tag, require_match
from gateway.control.act.scopes import require_departments
from gateway.control.act.services import ControlServices
from gateway.control.directory.importing import import_directory, require_said
from gateway.domain.directory import Dataset, Department, EntryState, Interface, Purpose, SharingAttribute
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Officer
from gateway.domain.uses import RecordKind
from gateway.store import DatasetFilter, Store, StoreTransaction
from gateway.store.directory.file import DirectoryFile
from gateway.store.directory.openapi import derive_interface

router = APIRouter(prefix="/v1", tags=["directory"])

DepartmentBody = body_model(Department)
PurposeBody = body_model(Purpose)
DatasetBody = body_model(Dataset, without=frozenset({"version", "state"}))
InterfaceBody = body_model(Interface, without=frozenset({"version"}))


class ExaminationBody(Body):
    """The competent department's word on a submitted version (Decree 809 Art. 16, 17)."""

    release: bool
    reason: Statement | None = None
    revives: bool = False


class ImportGuard(Protocol):
    """What keeps two officers from overwriting each other's change."""

    def require(self, tx: StoreTransaction, found: DirectoryFile) -> None:
        """Raises `precondition-failed` where what `found` would overwrite was changed since it was read."""

    def tagged(self, tx: StoreTransaction, found: DirectoryFile) -> dict[str, str]:
        """The header field that names the present state of what `found` is about."""


@dataclass(frozen=True, slots=True)
class Guard:
    """The guard of one thing.

    Args:
        if_match: the field, if it was sent.
        current: the thing as a transaction sees it, or None.
    """

    if_match: str | None
    current: Callable[[StoreTransaction], msgspec.Struct | None]

    def require(self, tx: StoreTransaction, found: DirectoryFile) -> None:  # noqa: ARG002 - it names the one thing
        """Raises `precondition-failed` where the thing is in another state than `If-Match` names."""
        require_match(self.current(tx), self.if_match)

    def tagged(self, tx: StoreTransaction, found: DirectoryFile) -> dict[str, str]:  # noqa: ARG002 - likewise
        """The header field that names the state the thing is in now."""
        now = self.current(tx)
        return {"ETag": entity_tag(now)} if now is not None else {}


Revives = Annotated[
    bool, Query(description="that what standing grants give again, or more, by it shall flow: see `check`")
]
EntryPath = Annotated[EntryId, Path(description="the entry's id")]
Supplier = Annotated[Slug | None, Query(description="supply department")]


@router.get("/departments", summary="Departments")
def list_departments(
    services: Services,
    officer: SignedIn,  # noqa: ARG001 - any officer reads the directory
    region: Annotated[str, Query(pattern=r"^[0-9]{0,6}$", description="prefix of the division code")] = "",
    *,
    pages: Pages,
) -> Response:
    """Departments by id."""
    page = services.store.list_departments(pages.cursor, pages.limit, region=region)
    return pages.response(page.items, page.cursor)


@router.get("/departments/{id}", summary="A department")
def show_department(
    services: Services,
    officer: SignedIn,  # noqa: ARG001 - any officer reads the directory
    id: Annotated[Slug, Path(description="the department's id")],  # noqa: A002
) -> Response:
    """One department."""
    return _one(services.store.department(id), f"there is no department `{id}`")


@router.post(
    "/departments", summary="Register or change a department", openapi_extra=describes(DepartmentBody, DEPARTMENT)
)
def put_department(
    request: Request,
    services: Services,
    officer: SignedIn,
    department: Annotated[Department, Depends(body_of(DepartmentBody, Department))],
    revives: Revives = False,
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """A department, new or changed."""
    found = DirectoryFile(departments=(department,))
    guard = Guard(if_match, lambda tx: tx.department(department.id))
    return import_once(request, services, officer, key, found, department, guard=guard, revives=revives)


@router.get("/purposes", summary="Purposes of use")
def list_purposes(services: Services, officer: SignedIn) -> Response:  # noqa: ARG001 - any officer reads the directory
    """Every purpose."""
    return page_response(services.store.purposes(), None)


@router.get("/purposes/{id}", summary="A purpose of use")
def show_purpose(
    services: Services,
    officer: SignedIn,  # noqa: ARG001 - any officer reads the directory
    id: Annotated[Slug, Path(description="the purpose's id")],  # noqa: A002
) -> Response:
    """One purpose."""
    return _one(_purpose(services.store, id), f"there is no purpose `{id}`")


@router.post("/purposes", summary="Register or change a purpose", openapi_extra=describes(PurposeBody, PURPOSE))
def put_purpose(
    request: Request,
    services: Services,
    officer: SignedIn,
    purpose: Annotated[Purpose, Depends(body_of(PurposeBody, Purpose))],
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """A purpose, new or changed."""
    found = DirectoryFile(purposes=(purpose,))
    guard = Guard(if_match, lambda tx: _purpose(tx, purpose.id))
    return import_once(request, services, officer, key, found, purpose, guard=guard)


@router.get("/datasets", summary="Directory entries")
def list_datasets(
    services: Services,
    officer: SignedIn,  # noqa: ARG001 - any officer reads the directory
    supplier: Supplier = None,
    state: EntryState = EntryState.RELEASED,
    attribute: SharingAttribute | None = None,
    words: Annotated[str | None, Query(max_length=100, description="part of the name or code")] = None,
    *,
    pages: Pages,
) -> Response:
    """Versions of entries in one state."""
    require_departments(services.store, supplier=supplier)
    narrow = DatasetFilter(state=state, supplier=supplier, sharing_attribute=attribute, words=words)
    page = services.store.list_datasets(narrow, pages.cursor, pages.limit)
    return pages.response(page.items, page.cursor)


@router.get("/datasets/{id}", summary="A directory entry, with its versions")
def show_dataset(services: Services, officer: SignedIn, id: EntryPath) -> Response:  # noqa: A002, ARG001
    """The released version and every other."""
    versions = services.store.dataset_versions(id)
    if not versions:
        raise GatewayError("not-found", f"there is no entry `{id}`")
    released = services.store.dataset(id)
    headers = {"ETag": entity_tag(released)} if released is not None else {}
    return json_response({"released": released, "versions": versions}, headers=headers)


@router.post(
    "/datasets", summary="Submit a version of an entry", status_code=201, openapi_extra=describes(DatasetBody, DATASET)
)
def submit_dataset(
    request: Request,
    services: Services,
    officer: SignedIn,
    dataset: Annotated[Dataset, Depends(body_of(DatasetBody, Dataset))],
    release: Annotated[bool, Query(description="release it at once; takes the right to release")] = False,
    revives: Revives = False,
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """Submit an entry for examination (Art. 16), or submit and release it; `If-Match` is about the released version."""
    found = DirectoryFile(datasets=(dataset,))
    guard = Guard(if_match, lambda tx: tx.dataset(dataset.id))
    return import_once(request, services, officer, key, found, dataset, release=release, guard=guard, revives=revives)


@router.post(
    "/datasets/{id}/versions/{version}/examination",
    summary="Release or reject a submitted version",
    openapi_extra=describes(ExaminationBody, {"release": True}),
)
def examine_dataset(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: EntryPath,  # noqa: A002
    version: Annotated[int, Path(ge=1)],
    word: Annotated[ExaminationBody, Depends(model_of(ExaminationBody))],
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """Release or reject a submitted version (Art. 16, 17); a rejection states its reason.

    `If-Match` is about the released version: what its effects were read against.
    """

    def work(deed: Deed) -> Answer:
        found = deed.about(
            lambda tx: next((each for each in tx.dataset_versions(id) if each.version == version), None),
            lambda tx, found: [(Act.RELEASE_ENTRY, matter_between(tx, found.supplier, None, id))],
            None,
            f"there is no version {version} of entry `{id}`",
        )
        require_match(deed.tx.dataset(id), if_match)
        if not word.release and word.reason is None:
            raise GatewayError(
                "invalid-input", "a rejection states its reason", faults=[{"field": "reason", "fault": "is missing"}]
            )
        revived = require_said(deed.tx, [found] if word.release else [], said=word.revives)
        entry = (
            deed.tx.release_dataset(id, version, on=deed.today) if word.release else deed.tx.reject_dataset(id, version)
        )
        deed.record(
            RecordKind.DIRECTORY,
            dataset=id,
            supplier=entry.supplier,
            version=version,
            state=entry.state.value,
            reason=word.reason or "",
            revives=revived,
        )
        return Answer({"dataset": entry}, headers={"ETag": entity_tag(entry)})

    return perform(services, request, officer, key, word.model_dump(), work)


class WithdrawalBody(Body):
    """Why an entry is withdrawn."""

    reason: Statement


@router.post(
    "/datasets/{id}/withdrawal",
    summary="Withdraw the released version",
    openapi_extra=describes(WithdrawalBody, {"reason": "the matter it served was abolished, 国发〔2026〕3号"}),
)
def withdraw_dataset(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: EntryPath,  # noqa: A002
    body: Annotated[WithdrawalBody, Depends(model_of(WithdrawalBody))],
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """Withdraw an entry: nothing of the dataset is shared from the return of this call on."""

    def work(deed: Deed) -> Answer:
        old = deed.about(
            lambda tx: tx.dataset(id),
            lambda tx, entry: [(Act.RELEASE_ENTRY, matter_between(tx, entry.supplier, None, id))],
            None,
            f"no version of entry `{id}` is released",
        )
        require_match(old, if_match)
        entry = deed.tx.withdraw_dataset(id)
        deed.record(
            RecordKind.DIRECTORY,
            dataset=id,
            supplier=entry.supplier,
            version=entry.version,
            state="withdrawn",
            reason=body.reason,
        )
        return Answer({"dataset": entry})

    return perform(services, request, officer, key, body.model_dump(), work)


@router.get("/interfaces", summary="Supply departments' interfaces")
def list_interfaces(
    services: Services,
    officer: SignedIn,
    supplier: Supplier = None,
    dataset: Annotated[EntryId | None, Query()] = None,
    active: Annotated[bool | None, Query()] = True,
    *,
    pages: Pages,
) -> Response:
    """Interfaces; where they lead is shown only to who may manage them."""
    require_departments(services.store, supplier=supplier)
    page = services.store.list_interfaces(pages.cursor, pages.limit, supplier=supplier, dataset=dataset, active=active)
    return pages.response([shown_interface(services, officer, each) for each in page.items], page.cursor)


@router.get("/interfaces/{supplier}/{id}", summary="An interface")
def show_interface(
    services: Services,
    officer: SignedIn,
    supplier: Annotated[Slug, Path()],
    id: Annotated[Slug, Path()],  # noqa: A002
) -> Response:
    """One interface, active or withdrawn."""
    found = services.store.any_interface(supplier, id)
    if found is None:
        raise GatewayError("not-found", f"there is no interface `{supplier}/{id}`")
    shown = shown_interface(services, officer, found)
    # The tag is of what is shown: one of the whole would confirm a guess of what is not.
    return json_response(shown, headers={"ETag": entity_tag(shown)})


@router.get("/datasets/{id}/versions/{version}/effects", summary="What releasing a version would change")
def release_effects(
    services: Services,
    officer: SignedIn,
    id: EntryPath,  # noqa: A002
    version: Annotated[int, Path(ge=1)],
) -> Response:
    """Field by field, and every standing grant that would lose (Art. 15): to be read before releasing."""
    owner = services.store.entry_owner(id)
    require_permit(services, officer, Act.SUBMIT_ENTRY, matter_between(services.store, owner, None, id))
    return json_response(services.store.release_effects(id, version))


class DerivationBody(Body):
    """A supplier's OpenAPI document, from which an interface is proposed."""

    openapi: dict[str, Any]
    path: Statement
    dataset: EntryId
    id: Slug
    upstream: Statement | None = None
    methods: tuple[Literal["GET", "HEAD", "POST"], ...] = Field(
        ("GET",), min_length=1, description="methods to propose; others never are"
    )


@router.post(
    "/interfaces/derivation",
    summary="Propose an interface from an OpenAPI document",
    openapi_extra=describes(DerivationBody, DERIVATION),
)
def derive(
    services: Services, officer: SignedIn, body: Annotated[DerivationBody, Depends(model_of(DerivationBody))]
) -> Response:
    """Where each item stands in the answer, as far as the document tells; registers nothing."""
    entry = services.store.dataset(body.dataset)
    if entry is None:
        raise GatewayError("not-found", f"`{body.dataset}` is not a released dataset")
    require_permit(services, officer, Act.MANAGE_INTERFACES, matter_between(services.store, entry.supplier, None))
    proposal = derive_interface(
        body.openapi, body.path, dataset=entry, id=body.id, upstream=body.upstream, methods=body.methods
    )
    return json_response(proposal)


def import_once(
    request: Request,
    services: ControlServices,
    officer: Officer,
    key: str | None,
    found: DirectoryFile,
    body: Any,
    *,
    release: bool = False,
    guard: ImportGuard,
    revives: bool = False,
    tried: Callable[[], dict[str, Any]] = dict,
) -> Response:
    """Import `found` once under `key`, whole or not at all, unless `guard` finds that it would overwrite a change.

    What `tried` finds before that is answered too; it is not asked where an answer is replayed.
    """
    told: dict[str, Any] = {}

    def work(deed: Deed) -> Answer:
        done = import_directory(deed, found, release=release, look=lambda tx: guard.require(tx, found), revives=revives)
        return Answer({**done, **told}, 201, guard.tagged(deed.tx, found))

    return perform(services, request, officer, key, body, work, prepare=lambda: told.update(tried()))


def _one(found: msgspec.Struct | None, missing: str) -> Response:
    if found is None:
        raise GatewayError("not-found", missing)
    return json_response(found, headers={"ETag": entity_tag(found)})


def _purpose(state: Store | StoreTransaction, id_: str) -> Purpose | None:
    return next((each for each in state.purposes() if each.id == id_), None)


def shown_interface(services: ControlServices, officer: Officer, interface: Interface) -> Interface:
    """The interface as the officer may see it: a supplier's address is its own business."""
    matter = matter_between(services.store, interface.supplier, None, interface.dataset)
    if is_permitted(services, officer, Act.MANAGE_INTERFACES, matter):
        return interface
    return msgspec.structs.replace(interface, upstream="", tls_ca=None, tls_name=None, tls_client=None, credential=None)
