"""Attacks on what proves a sender: DPoP proofs and client assertions."""

import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.client.keys import ClientKey
from gateway.identity.callers.dpop import ProofVerifier
from gateway.identity.callers.nonces import Nonces, NonceSecret
from gateway.identity.signer import SoftwareSigner
from tests.unit.identity.attack_row import ASSERTION, PROOF, attack, own_jwk
from tests.unit.identity.identity_kit import AUDIENCE, ISSUER, House, part, unpart

# DPoP proofs.


def bound_call(house: House, proof: str, token: str) -> object:
    return house.call(("authorization", f"DPoP {token}"), ("dpop", proof))


def with_proof(reason: str, source: str, name: str, **changes: Any) -> None:
    def attempt(house: House) -> object:
        token = house.token(cnf={"jkt": house.key.thumbprint})
        return bound_call(house, house.proof(token, **changes), token)

    attack(PROOF, name, source, reason)(attempt)


with_proof("another method", "RFC 9449 §4.3 (8)", "of another method", method="DELETE")
with_proof("another URI", "RFC 9449 §4.3 (9)", "of another path", uri=f"{AUDIENCE}/tax/income")
with_proof("another URI", "RFC 9449 §4.3 (9)", "of another host", uri="https://attacker.test/public-security/household")
with_proof("URI is malformed", "RFC 9449 §4.3 (9)", "user info in the URI", uri="https://a@gateway.test/x")
with_proof("not of now", "RFC 9449 §4.3 (11)", "made long ago", at=1_000_000)
with_proof("not of now", "RFC 9449 §4.3 (11)", "made ahead", at=4_000_000_000)


@attack(PROOF, "replayed", "RFC 9449 §11.1", "used before")
def replayed_proof(house: House) -> object:
    token = house.token(cnf={"jkt": house.key.thumbprint})
    proof = house.proof(token)
    bound_call(house, proof, token)
    return bound_call(house, proof, token)


@attack(PROOF, "replayed at another worker", "RFC 9449 §11.1", "used before")
def replayed_elsewhere(house: House) -> object:
    token = house.token(cnf={"jkt": house.key.thumbprint})
    proof = house.proof(token)
    bound_call(house, proof, token)
    house.identify = house.new_identifier()
    return bound_call(house, proof, token)


@attack(PROOF, "by the thief's own key", "RFC 9449 §4.3 (12)", "another key than the token's")
def thief_proof(house: House) -> object:
    token = house.token(cnf={"jkt": house.key.thumbprint})
    return bound_call(house, house.proof(token, key=house.other_key), token)


@attack(PROOF, "for another token of the same key", "RFC 9449 §4.3 (12)", "another token")
def other_token_proof(house: House) -> object:
    token = house.token(cnf={"jkt": house.key.thumbprint})
    return bound_call(house, house.proof(house.token(cnf={"jkt": house.key.thumbprint})), token)


def tampered_proof(header: dict[str, Any]) -> Callable[[House], object]:
    def attempt(house: House) -> object:
        token = house.token(cnf={"jkt": house.key.thumbprint})
        first, second, third = house.proof(token).split(".")
        return bound_call(house, f"{part({**json.loads(unpart(first)), **header})}.{second}.{third}", token)

    return attempt


attack(PROOF, "typ JWT", "RFC 9449 §4.3 (4)", "another type")(tampered_proof({"typ": "JWT"}))
attack(PROOF, "alg none", "RFC 9449 §4.3 (5)", "names no algorithm")(tampered_proof({"alg": "none"}))
attack(PROOF, "alg HS256", "RFC 9449 §4.3 (5)", "algorithm is not the key's")(tampered_proof({"alg": "HS256"}))
attack(PROOF, "header changed", "RFC 9449 §4.3 (6)", "does not verify")(tampered_proof({"kid": "x"}))
attack(PROOF, "jku besides jwk", "ours", "not accepted")(tampered_proof({"jku": "https://attacker.test"}))


@attack(PROOF, "private key inside", "RFC 9449 §4.3 (7)", "private or symmetric material")
def private_in_proof(house: House) -> object:
    token = house.token(cnf={"jkt": house.key.thumbprint})
    return bound_call(house, resign_proof(house, {"jwk": {**house.key.public, "d": "AA"}}, token), token)


def resign_proof(house: House, header: dict[str, Any], token: str) -> str:
    first, second, _ = house.proof(token).split(".")
    message = f"{part({**json.loads(unpart(first)), **header})}.{second}"
    return f"{message}.{part(SoftwareSigner(house.key._key).sign(message.encode()))}"


@attack(PROOF, "no proof at all", "RFC 9449 §7.1", "without a proof")
def no_proof(house: House) -> object:
    return house.call(("authorization", f"DPoP {house.token(cnf={'jkt': house.key.thumbprint})}"))


@attack(PROOF, "two proofs", "RFC 9449 §4.3 (1)", "two proofs")
def two_proofs(house: House) -> object:
    token = house.token(cnf={"jkt": house.key.thumbprint})
    proof = house.proof(token)
    return house.call(("authorization", f"DPoP {token}"), ("dpop", proof), ("dpop", proof))


# Client assertions.


def asserted(house: House, key: ClientKey | None = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """An assertion with changed claims (None leaves one out), signed by `key`, by default the client's own."""
    at = int(house.now())
    real = {"iss": "marriage", "sub": "marriage", "aud": ISSUER, "iat": at, "exp": at + 60, "jti": "j-1"}
    chosen = {name: value for name, value in {**real, **claims}.items() if value is not None}
    signing = key or house.key
    return jwt.encode(chosen, signing._key, signing.algorithm, headers={"kid": house.key.kid, **(header or {})})


def with_assertion(name: str, source: str, reason: str, client_id: str | None = None, **changes: Any) -> None:
    attack(ASSERTION, name, source, reason)(
        lambda house: house.assertions.verify(asserted(house, **changes).encode(), client_id)
    )


@attack(ASSERTION, "replayed", "RFC 7523 §3 (7)", "used before")
def replayed_assertion(house: House) -> object:
    assertion = asserted(house).encode()
    house.assertions.verify(assertion, None)
    return house.assertions.verify(assertion, None)


@attack(ASSERTION, "another client's name, own key", "RFC 7523 §3", "no client of that name")
def other_client(house: House) -> object:
    thief = ClientKey(ec.generate_private_key(ec.SECP256R1()))
    return house.assertions.verify(asserted(house, key=thief).encode(), None)


@attack(ASSERTION, "another client's name, own registered kid", "RFC 7523 §3", "no client of that name")
def other_clients_kid(house: House) -> object:
    assertion = asserted(house, key=house.other_key, header={"kid": house.other_key.kid})
    return house.assertions.verify(assertion.encode(), None)


@attack(ASSERTION, "HS256 with the registered public key as secret", "RFC 8725 §2.1", "algorithm is not accepted")
def assertion_confusion(house: House) -> object:
    first, second, _ = asserted(house).split(".")
    message = f"{part({**json.loads(unpart(first)), 'alg': 'HS256'})}.{second}"
    secret = json.dumps(house.key.registration()).encode()
    return house.assertions.verify(f"{message}.{part(hmac.digest(secret, message.encode(), 'sha256'))}".encode(), None)


@attack(ASSERTION, "an access token as assertion", "RFC 8725 §3.11", "another type")
def token_as_assertion(house: House) -> object:
    return house.assertions.verify(house.token().encode(), None)


@attack(ASSERTION, "of a revoked client", "ours", "no client of that name")
def revoked_client(house: House) -> object:
    house.revoke("marriage")
    return house.assertions.verify(asserted(house).encode(), None)


with_assertion("wrong audience", "RFC 7523 §3 (3)", "another audience", aud="https://other.test/token")
with_assertion("several audiences", "FAPI 2.0 §5.3.2.1", "another audience", aud=[ISSUER, "https://other.test"])
with_assertion("expired", "RFC 7523 §3 (4)", "expired", exp=1_000_000, iat=999_990)
with_assertion("never expires", "RFC 7523 §3 (4)", "time is missing", exp=None)
with_assertion("lives an hour", "ours: 5 minutes", "lives too long", exp=4_000_000_000)
with_assertion("without jti", "ours", "no `jti`", jti=None)
with_assertion("sub is another client", "RFC 7523 §3 (2)", "do not name one client", sub="tax")
with_assertion("form names another client", "RFC 7521 §4.2", "do not name one client", client_id="tax")
with_assertion("key by header `jwk`", "RFC 8725 §3.10", "not accepted", header={"jwk": own_jwk()})


# One kind of credential for another, and one place for another.


def as_node(house: House, place: str) -> None:
    """Make the house a boot of a lone node: the nonces of another are none here."""
    house.nonces = Nonces([NonceSecret(1, b"secret", 0)], house.now, place)
    house.proofs = ProofVerifier(house.now, house.nonces)
    house.identify = house.new_identifier()


@attack(PROOF, "replayed after a reboot", "RFC 9449 §11.1, §8", "no current nonce")
def replayed_after_a_reboot(house: House) -> object:
    as_node(house, "node-a/1")
    token = house.token(cnf={"jkt": house.key.thumbprint})
    proof = house.proof(token)
    bound_call(house, proof, token)
    as_node(house, "node-a/2")
    return bound_call(house, proof, token)


@attack(PROOF, "nonce of ten minutes ago", "RFC 9449 §11.2", "no current nonce")
def old_nonce(house: House) -> object:
    as_node(house, "node-a/1")
    assert house.nonces is not None
    old = house.nonces.current()
    house.now.at += 600
    token = house.token(cnf={"jkt": house.key.thumbprint})
    return bound_call(house, house.proof(token, nonce=old), token)


@attack(PROOF, "made for the token endpoint, sent to the data plane", "RFC 9449 §4.3 (9)", "another URI")
def token_endpoint_proof(house: House) -> object:
    token = house.token(cnf={"jkt": house.key.thumbprint})
    proof = house.proof(None, method="POST", uri=f"{ISSUER}/oauth/token")
    return house.call(("authorization", f"DPoP {token}"), ("dpop", proof), head={"method": b"POST"})


@attack(PROOF, "without the token's hash", "RFC 9449 §4.3 (11)", "another token")
def proof_without_hash(house: House) -> object:
    token = house.token(cnf={"jkt": house.key.thumbprint})
    return bound_call(house, house.proof(None), token)


@attack(PROOF, "the owner's key inside, signed by the thief's", "RFC 9449 §4.3 (6)", "does not verify")
def proof_by_another_hand(house: House) -> object:
    token = house.token(cnf={"jkt": house.key.thumbprint})
    thief = ClientKey(ec.generate_private_key(ec.SECP256R1()))
    thief.public = house.key.public
    return bound_call(house, house.proof(token, key=thief), token)


@attack(PROOF, "host in full-width letters", "RFC 9449 §4.3 (9); RFC 3986", "URI is malformed")
def full_width_host(house: House) -> object:
    token = house.token(cnf={"jkt": house.key.thumbprint})
    return bound_call(house, house.proof(token, uri="https://ｇateway.test/public-security/household"), token)


@attack(PROOF, "escaped slash for a slash", "RFC 3986 §6.2.2", "another URI")
def escaped_slash(house: House) -> object:
    token = house.token(cnf={"jkt": house.key.thumbprint})
    return bound_call(house, house.proof(token, uri=f"{AUDIENCE}/public-security%2Fhousehold"), token)


@attack(PROOF, "a client assertion as proof", "RFC 8725 §3.11", "another type")
def assertion_as_proof(house: House) -> object:
    token = house.token(cnf={"jkt": house.key.thumbprint})
    return bound_call(house, asserted(house), token)


@attack(ASSERTION, "a DPoP proof as assertion", "RFC 8725 §3.11", "not accepted")
def proof_as_assertion(house: House) -> object:
    return house.assertions.verify(house.proof(None).encode(), None)


@attack(ASSERTION, "an officer's token as assertion", "RFC 8725 §3.11", "another type")
def officer_as_assertion(house: House) -> object:
    return house.assertions.verify(house.officer_token().encode(), None)


@attack(ASSERTION, "replayed with another signature (ECDSA)", "RFC 7523 §3 (7)", "used before")
def malleable_assertion(house: House) -> object:
    """(r, n - s) verifies where (r, s) does: what is used up is the `jti`, and no text of the token."""
    assertion = asserted(house)
    house.assertions.verify(assertion.encode(), None)
    message, _, signature = assertion.rpartition(".")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    raw = unpart(signature)
    twin = raw[:32] + (order - int.from_bytes(raw[32:])).to_bytes(32)
    return house.assertions.verify(f"{message}.{part(twin)}".encode(), None)


with_assertion("client's name with a blank behind", "RFC 8725 §3.10", "do not name one client", iss="marriage ")
with_assertion("expires as a boolean", "RFC 7519 §2", "time is missing", exp=True)
with_assertion("jti as a list", "RFC 7519 §4.1.7", "no `jti`", jti=["a"])
