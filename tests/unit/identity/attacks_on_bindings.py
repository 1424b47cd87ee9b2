"""Attacks on what a token is bound to and on whom it is taken from: senders, withdrawn keys, look-alikes, issuers."""

import asyncio

import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.client.keys import ClientKey
from gateway.domain.changes import Change, ChangeKind
from gateway.identity.callers.certificates import certificate_thumbprint
from gateway.identity.signer import SoftwareSigner
from gateway.identity.tokens.issuers import ExternalIssuer
from gateway.identity.tokens.verify import OwnIssuer, TokenVerifier
from gateway.proxy.ports import Peer
from tests.unit.identity.attack_row import OFFICER_TOKEN, TOKEN, attack
from tests.unit.identity.identity_kit import AUDIENCE, ISSUER, House, part, resigned
from tests.unit.identity.legacy_kit import national


def both_ways_bound(house: House) -> tuple[str, Peer]:
    house.register_certificate(b"der")
    cnf = {"x5t#S256": certificate_thumbprint(b"der"), "jkt": house.key.thumbprint}
    return house.token(cnf=cnf), Peer("192.0.2.7", is_tls=True, certificate_der=b"der")


@attack(TOKEN, "bound to certificate and DPoP key, only the certificate shown", "RFC 9449 §7.1", "without a proof")
def only_certificate(house: House) -> object:
    token, owner = both_ways_bound(house)
    return house.bearer(token, peer=owner)


@attack(TOKEN, "bound to certificate and DPoP key, only the proof shown", "RFC 8705 §3", "another certificate")
def only_proof(house: House) -> object:
    token, _ = both_ways_bound(house)
    return house.call(("authorization", f"DPoP {token}"), ("dpop", house.proof(token)))


@attack(TOKEN, "bound to a certificate, the thief's own proof shown", "RFC 8705 §3", "another certificate")
def certificate_for_proof(house: House) -> object:
    house.register_certificate(b"der")
    token = house.token(cnf={"x5t#S256": certificate_thumbprint(b"der")})
    return house.call(("authorization", f"DPoP {token}"), ("dpop", house.proof(token, key=house.other_key)))


@attack(TOKEN, "not bound, sent as DPoP", "RFC 9449 §7.1", "not bound to a DPoP key")
def unbound_as_dpop(house: House) -> object:
    token = house.token()
    return house.call(("authorization", f"DPoP {token}"), ("dpop", house.proof(token)))


@attack(TOKEN, "of a system revoked while it was remembered", "ours", "not known or revoked")
def revoked_while_remembered(house: House) -> object:
    token = house.token()
    house.bearer(token)
    house.revoke("marriage")
    house.identify.forget(Change(1, ChangeKind.SYSTEM, "marriage", withdraws=True))
    return house.bearer(token)


@attack(TOKEN, "got by a key since replaced under its kid", "ours", "not known or revoked")
def replaced_key(house: House) -> object:
    token = house.token(client_key=house.key.thumbprint)
    other = ClientKey(ec.generate_private_key(ec.SECP256R1()), house.key.kid)
    house.systems["marriage"] = msgspec.structs.replace(house.systems["marriage"], keys=(other.registration(),))
    return house.bearer(token)


@attack(TOKEN, "signed by a key rotated out without overlap", "ours", "key is not known")
def rotated_out(house: House) -> object:
    token = house.token()
    house.bearer(token)
    house.ring.rotate("token", overlap_seconds=0)
    house.identify.forget(Change(1, ChangeKind.KEY, "token", withdraws=True))
    return house.bearer(token)


@attack(TOKEN, "client in full-width letters", "RFC 8725 §3.10", "names no client")
def full_width_client(house: House) -> object:
    return house.bearer(resigned(house, payload={"client_id": "ｍarriage", "sub": "ｍarriage"}))


@attack(TOKEN, "client with an invisible character", "RFC 8725 §3.10", "names no client")
def invisible_character(house: House) -> object:
    return house.bearer(resigned(house, payload={"client_id": "mar\u200briage", "sub": "mar\u200briage"}))


@attack(TOKEN, "two tokens in one field", "RFC 9110 §11.6.2", "three parts")
def two_in_one(house: House) -> object:
    token = house.token()
    return house.bearer(f"{token}, Bearer {token}")


@attack(TOKEN, "token and signed headers together", "ours: one meaning", "two credentials")
def token_and_signed_headers(house: House) -> object:
    return house.call(("authorization", f"Bearer {house.token()}"), *national(house.now()).items())


# Another issuer, which is trusted for its own clients.

IDP = "https://idp.test"


def foreign(house: House, name: str = IDP, system: str = "theirs", **payload: object) -> str:
    """A token that the other issuer signs, and the house set to trust it for the client `theirs`."""
    signer = SoftwareSigner.generate("ES256")
    key = {**signer.public_jwk, "kid": signer.kid}

    def serve(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"keys": [key]})

    client = httpx.AsyncClient(transport=httpx.MockTransport(serve))
    clients = {"theirs": "tax"}
    issuer = ExternalIssuer(IDP, AUDIENCE, f"{IDP}/keys", clients, house.now, client=client)
    asyncio.run(issuer.refresh())
    house.verifier = TokenVerifier(OwnIssuer(ISSUER, AUDIENCE, house.ring), house.now, externals=(issuer,))
    house.identify = house.new_identifier()
    header = {"alg": "ES256", "kid": signer.kid, "typ": payload.pop("typ", "at+jwt")}
    at = int(house.now())
    claims = {"iss": name, "aud": AUDIENCE, "sub": system, "client_id": system, "iat": at, "exp": at + 60, "jti": "j"}
    message = f"{part(header)}.{part({**claims, **payload})}"
    return f"{message}.{part(signer.sign(message.encode()))}"


@attack(TOKEN, "other issuer names a system it was not given", "RFC 8725 §3.8", "does not vouch")
def foreign_client(house: House) -> object:
    return house.bearer(foreign(house, system="marriage"))


@attack(TOKEN, "other issuer signs in this gateway's name", "RFC 8725 §3.8", "key is not known")
def foreign_name(house: House) -> object:
    return house.bearer(foreign(house, ISSUER, "marriage"))


@attack(TOKEN, "other issuer's token for another audience", "RFC 8725 §3.9", "another audience")
def foreign_audience(house: House) -> object:
    return house.bearer(foreign(house, aud="https://other.test"))


@attack(OFFICER_TOKEN, "signed by another trusted issuer", "RFC 8725 §3.8", "not trusted")
def foreign_officer(house: House) -> object:
    token = foreign(house, sub="zhang-wei", aud=ISSUER + "/v1", typ="officer+jwt")
    return house.verifier.verify_officer(token.encode())
