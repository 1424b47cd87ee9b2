"""/v1/account/authenticator: the second factor of a local account, made and withdrawn by its owner alone.

It counts from the moment at which its owner has shown a code of it. Whoever has lost it sets another password by a code
that two persons agreed to (`enrolment`), which withdraws it. The secret is said once, and kept sealed.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import SecretStr

from gateway.control.act.acting import Answer, Deed, Services, SignedIn, matter_of_person, perform
from gateway.control.act.bodies import Body, describes, model_of
from gateway.control.sign_in.sign_in import SecondFactor, SignInServices, session_of
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act
from gateway.domain.texts import Phrase
from gateway.domain.uses import RecordKind
from gateway.identity.officers.accounts import LocalAccounts
from gateway.identity.officers.one_time_codes import new_secret, text_of, uri_of


class OneTimeCodeBody(Body):
    """A code that the authenticator shows."""

    code: SecretStr


def authenticator_router(sign_in: SignInServices, accounts: LocalAccounts) -> APIRouter:
    """The routes over local `accounts`; hand it to `OAuthServices.further`."""
    router = APIRouter(prefix="/v1/account/authenticator", tags=["sign-in"])
    factor = sign_in.second_factor
    described = describes(OneTimeCodeBody, {"code": "123456"})

    @router.post("", summary="Begin a second factor", status_code=201)
    def begin(request: Request, services: Services, officer: SignedIn) -> Response:
        """A secret for an authenticator, said once; it counts once a code of it was shown."""
        secret = new_secret()

        def work(deed: Deed) -> Answer:
            deed.permit(Act.KEEP_ACCOUNT, matter_of_person(deed.officer))
            if deed.tx.officer_secret(officer.id) is None:
                raise GatewayError("conflict", "this account has no password that a second factor could stand beside")
            found = deed.tx.authenticator(officer.id)
            if found is not None and found.confirmed:
                raise GatewayError("conflict", "this account has an authenticator: withdraw that one first")
            deed.tx.put_authenticator(officer.id, factor.seal(officer.id, secret), confirmed=False)
            deed.record(
                RecordKind.DIRECTORY, department=officer.department, of=officer.id, reason=Phrase("second factor begun")
            )
            uri = uri_of(secret, officer.id, sign_in.issuer.issuer)
            return Answer({"officer": officer.id}, 201, once={"secret": text_of(secret), "uri": uri})

        return perform(services, request, officer, None, None, work)

    @router.post("/confirmation", summary="Let the second factor count", openapi_extra=described)
    def confirm(
        request: Request,
        services: Services,
        officer: SignedIn,
        body: Annotated[OneTimeCodeBody, Depends(model_of(OneTimeCodeBody))],
    ) -> Response:
        """Show a code of the authenticator: from now on the password alone signs nobody in."""
        _require_code(sign_in, accounts, request, officer, body, is_confirmed=False)

        def work(deed: Deed) -> Answer:
            deed.permit(Act.KEEP_ACCOUNT, matter_of_person(deed.officer))
            found = deed.tx.authenticator(officer.id)
            if found is None or found.confirmed:
                raise GatewayError("precondition-failed", "the authenticator was changed meanwhile")
            deed.tx.put_authenticator(officer.id, found.sealed, confirmed=True)
            return _noted(deed, "a second factor was added")

        return perform(services, request, officer, None, None, work)

    @router.post("/withdrawal", summary="Withdraw the second factor", openapi_extra=described)
    def withdraw(
        request: Request,
        services: Services,
        officer: SignedIn,
        body: Annotated[OneTimeCodeBody, Depends(model_of(OneTimeCodeBody))],
    ) -> Response:
        """Show a last code of the authenticator: a session alone does not withdraw it."""
        _require_code(sign_in, accounts, request, officer, body, is_confirmed=True)

        def work(deed: Deed) -> Answer:
            deed.permit(Act.KEEP_ACCOUNT, matter_of_person(deed.officer))
            deed.tx.end_authenticator(officer.id)
            return _noted(deed, "the second factor was withdrawn")

        return perform(services, request, officer, None, None, work)

    return router


def _require_code(
    sign_in: SignInServices,
    accounts: LocalAccounts,
    request: Request,
    officer: SignedIn,
    body: OneTimeCodeBody,
    *,
    is_confirmed: bool,
) -> None:
    factor: SecondFactor = sign_in.second_factor
    found = factor.find(officer.id)
    if found is None or found.confirmed is not is_confirmed:
        raise GatewayError("conflict", "this account has no such authenticator")
    code, lane = body.code.get_secret_value(), f"{officer.id} {session_of(request)}"
    accounts.attempt(lane, sign_in.address(request), lambda: factor.is_right(found, code))


def _noted(deed: Deed, what: str) -> Answer:
    deed.tx.note_account(deed.officer.id, what, deed.officer.id)
    deed.record(RecordKind.DIRECTORY, department=deed.officer.department, of=deed.officer.id, reason=Phrase(what))
    return Answer({"officer": deed.officer.id})
