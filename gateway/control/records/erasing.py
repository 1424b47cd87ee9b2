"""/v1/records/{id}/erasure: what a caller said goes for good, and the record that names it stays (PIPL Art. 47).

The text goes from the state together with the salt that proved it, so that the digest in the log tells nothing any
more; every record of that system that said the same loses it too. Workers let go of what they remember before the
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
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Officer
from gateway.domain.texts import digest_in
from gateway.domain.uses import RecordKind
from gateway.store import StoreTransaction
from gateway.store.texts import StoredText

router = APIRouter(prefix="/v1/records", tags=["records"])

MAX_TEXTS = 500
"""Texts that one act erases: their digests stand in its record."""


class Said(StrEnum):
    """What of a record is erased."""

    PURPOSE = "purpose"
    SCENARIO = "scenario"
    OPERATOR = "operator"


class ErasureBody(Body):
    """Which words of a record are erased, and why."""

    fields: tuple[Said, ...] = Field((Said.PURPOSE, Said.SCENARIO, Said.OPERATOR), min_length=1, max_length=3)
    reason: Statement
    everywhere: bool = Field(False, description="also where other systems have said just the same")


@router.post(
    "/{id}/erasure",
    summary="Erase what a caller said in its own words",
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
    """Take away for good what a record's caller said, where the law wants it (Art. 37; PIPL Art. 47).

    The record stays, and says that it was erased. All records of that system that said the same lose it, and with
    `everywhere` those of other systems too. Answered once no worker names it any more. `conflict` where nothing of it
    stands.
    """
    shown = await shown_record(services, id)
    use = shown.entries[0].get("use") if shown.entries else None
    said: dict[str, Any] = use if isinstance(use, dict) else {}
    return await run_in_threadpool(_erase, services, request, officer, key, id, said, body)


def _erase(
    services: ControlServices,
    request: Request,
    officer: Officer,
    key: str | None,
    record: str,
    said: dict[str, Any],
    body: ErasureBody,
) -> Response:
    """One act."""

    def work(deed: Deed) -> Answer:
        def matter(tx: StoreTransaction) -> Any:
            return matter_between(tx, _text(said.get("supplier")), _text(said.get("department")))

        deed.about(
            lambda _tx: said,
            lambda tx, _said: [(Act.ERASE_TEXTS, matter(tx))],
            lambda tx, _said: (Act.CONSULT_RECORDS, matter(tx)),
            f"there is no record `{record}`",
        )
        named = [digest for field in body.fields if (digest := digest_in(said.get(field.value))) is not None]
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
        if body.everywhere:
            standing = _everywhere(services, deed, standing, texts)
        deed.record(
            RecordKind.ERASURE,
            department=_text(said.get("department")) or "",
            system=_text(said.get("system")) or "",
            of=record,
            erases=[each.digest for each in standing],
            reason=body.reason,
            article="Decree 809 Art. 37",
            concerning=[each.department for each in standing],
        )
        deed.tx.erase_texts([each.digest for each in standing], deed.records[0])
        return Answer({"erased": len(standing), "of": record}, 201)

    answer = perform(
        services, request, officer, key, {"of": record, **body.model_dump(mode="json")}, work, everywhere=True
    )
    services.store.scrub()
    return answer


def _everywhere(
    services: ControlServices, deed: Deed, standing: list[StoredText], texts: list[str]
) -> list[StoredText]:
    """Every system's text that says the same, once the officer may erase each."""
    same = {each.digest: each for each in standing}
    for text in filter(None, texts):
        same |= {each.digest: each for each in deed.tx.texts_of_word(services.word_of(text))}
    if len(same) > MAX_TEXTS:
        raise GatewayError("invalid-input", f"more than {MAX_TEXTS} systems have said it: erase it record by record")
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
