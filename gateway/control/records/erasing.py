"""/v1/records/{id}/erasure: what a caller or an officer said goes for good, and the record stays (PIPL Art. 47).

The text goes from the state together with the salt that proved it, so that the digest in the log tells nothing any
more; every record of that system, or of that department's officers, that said the same loses it too, and so does what
else the state holds of an act: its order, its case, its proposal. Workers let go of what they remember before the
answer is given. What was exported or backed up before is not reached from here; a state that is put back from before
the act erases again, by the act's record.
"""

from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from gateway.control.act.acting import Answer, Deed, IdempotencyKey, Services, SignedIn, matter_between, perform
from gateway.control.act.bodies import Body, Statement, describes, model_of
from gateway.control.act.services import ControlServices
from gateway.control.records.routes import RecordPath, shown_record
from gateway.control.records.texts import words_in
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Officer
from gateway.domain.texts import ACT_WORDS, USE_WORDS, digest_in
from gateway.domain.uses import RecordKind
from gateway.store.texts import StoredText

router = APIRouter(prefix="/v1/records", tags=["records"])

MAX_TEXTS = 500
"""Texts that one act erases: their digests stand in its record."""


Said = StrEnum("Said", {name.upper(): name for name in sorted({*USE_WORDS, *ACT_WORDS})})  # type: ignore[misc]
"""The fields of a record in which somebody's own words may stand."""


class ErasureBody(Body):
    """Which words of a record are erased, and why."""

    fields: tuple[Said, ...] = Field(tuple(Said), min_length=1, max_length=len(Said))
    reason: Statement
    everywhere: bool = Field(False, description="also where other systems and departments have said just the same")


@router.post(
    "/{id}/erasure",
    summary="Erase what a caller or an officer said in its own words",
    status_code=201,
    openapi_extra=describes(ErasureBody),
)
async def erase_texts(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: RecordPath,  # noqa: A002
    body: Annotated[ErasureBody, Depends(model_of(ErasureBody))],
    key: IdempotencyKey = None,
) -> Response:
    """Take away for good what a record's caller or officer said, where the law wants it (Art. 37; PIPL Art. 47).

    The record stays, and says that it was erased. All records of that system, or of that department's officers, that
    said the same lose it, and with `everywhere` those of others too. Answered once no worker names it any more.
    `conflict` where nothing of it stands.
    """
    shown = await shown_record(services, id)
    entry = shown.entries[0] if shown.entries else {}
    return await run_in_threadpool(_erase, services, request, officer, key, id, entry, body)


def _erase(
    services: ControlServices,
    request: Request,
    officer: Officer,
    key: str | None,
    record: str,
    entry: dict[str, Any],
    body: ErasureBody,
) -> Response:
    """One act."""
    use = entry.get("use")
    told: dict[str, Any] = use if isinstance(use, dict) else entry
    supplier, department = _text(told.get("supplier")), _text(told.get("department"))
    said_by = department if told is use else _text(told.get("officer_department"))

    def work(deed: Deed) -> Answer:
        deed.about(
            lambda _tx: told,
            lambda tx, _told: [(Act.ERASE_TEXTS, matter_between(tx, supplier, said_by))],
            lambda tx, _told: (Act.CONSULT_RECORDS, matter_between(tx, supplier, department or said_by)),
            f"there is no record `{record}`",
        )
        said = words_in(entry).said.items()
        wanted = [value for name, value in said if name.partition("/")[0] in body.fields]
        named = [digest for value in wanted if (digest := digest_in(value)) is not None]
        if not named:
            raise GatewayError("conflict", "the record names no text in these fields: nothing is erased")
        found = deed.tx.texts(named)
        standing = [each for each in found.values() if not each.erased]
        if not standing:
            raise GatewayError("conflict", "nothing of it stands any more")
        texts = [_opened(services, each) for each in standing]
        if any(text and text in body.reason for text in texts):
            # It would stand in the log for good.
            raise GatewayError("invalid-input", "`reason` repeats what is to be erased: say it without")
        standing = _alike(services, deed, standing, texts, everywhere=body.everywhere)
        deed.record(
            RecordKind.ERASURE,
            department=said_by or "",
            system=_text(told.get("system")) or "",
            of=record,
            erases=[each.digest for each in standing],
            reason=body.reason,
            article="Decree 809 Art. 37",
            concerning=[each.department for each in standing],
        )
        deed.tx.erase_texts([each.digest for each in standing], deed.records[0], services.word_of)
        return Answer({"erased": len(standing), "of": record}, 201)

    answer = perform(
        services, request, officer, key, {"of": record, **body.model_dump(mode="json")}, work, everywhere=True
    )
    services.store.scrub()
    return answer


def _alike(
    services: ControlServices, deed: Deed, standing: list[StoredText], texts: list[str], *, everywhere: bool
) -> list[StoredText]:
    """All of the same owners' texts that say the same, or everybody's, once the officer may erase each."""
    owners = {(each.system, each.department) for each in standing}
    same = {each.digest: each for each in standing}
    for text in filter(None, texts):
        for each in deed.tx.texts_of_word(services.word_of(text)):
            if everywhere or (each.system, each.department) in owners:
                same[each.digest] = each
    if len(same) > MAX_TEXTS:
        raise GatewayError("invalid-input", f"it was said more than {MAX_TEXTS} times: erase it record by record")
    departments = sorted({each.department for each in same.values()})
    deed.permit_all(Act.ERASE_TEXTS, lambda tx: [matter_between(tx, None, each) for each in departments])
    return [same[digest] for digest in sorted(same)]


def _opened(services: ControlServices, stored: StoredText) -> str:
    """The text; "" where its key is not here: it can be erased all the same."""
    try:
        return services.open_text(stored.digest, stored.sealed).text
    except GatewayError:
        return ""


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
