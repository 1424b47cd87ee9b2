"""Callers are told by what they can prove, and remembered no longer than it holds."""

import hashlib
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.client.keys import ClientKey
from gateway.domain.callers import Assurance, Caller
from gateway.domain.changes import Change, ChangeKind
from gateway.domain.errors import GatewayError
from gateway.identity.callers.certificates import certificate_thumbprint
from gateway.identity.callers.security_log import FailureBudget
from gateway.identity.keys.keyring import KeyRing
from gateway.identity.tokens.issuing import TokenIssuer
from gateway.identity.tokens.verify import OwnIssuer, TokenVerifier
from gateway.proxy.ports import Peer
from tests.unit.identity.identity_kit import AUDIENCE, ISSUER, PEER, House, head, part, unpart


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def refused(house: House, *fields: tuple[str, str], **options: object) -> str:
    with pytest.raises(GatewayError) as refusal:
        house.call(*fields, **options)
    assert refusal.value.code == "credential-invalid"
    assert any(name == "WWW-Authenticate" for name, _ in refusal.value.headers)
    return refusal.value.detail


def test_bearer_token_names_its_system(house: House) -> None:
    """A token of the token endpoint is a caller with assurance `bearer`."""
    caller = house.bearer(house.token())
    assert (caller.system, caller.department, caller.assurance) == ("marriage", "civil-affairs", Assurance.BEARER)
    assert caller.purpose is None
    assert 290 < caller.expires_unix - house.now() <= 300


def test_no_credential_is_told_from_a_bad_one(house: House) -> None:
    """A call without any credential is `credential-missing`, with a challenge."""
    with pytest.raises(GatewayError, match="credential-missing") as refusal:
        house.call(("accept", "*/*"))
    assert refusal.value.headers[0][0] == "WWW-Authenticate"


def test_remembered_token_is_answered_at_once(house: House) -> None:
    """The second use of a token asks nobody and returns no awaitable."""
    token = house.token()
    first = house.bearer(token)
    again = house.identify(head(("authorization", f"Bearer {token}")), PEER)
    assert isinstance(again, Caller)
    assert again == first
    assert house.lookups == 1


def test_remembered_token_ends_with_its_time(house: House) -> None:
    """Memory does not outlive the token."""
    token = house.token()
    house.bearer(token)
    house.now.at += 331
    assert refused(house, ("authorization", f"Bearer {token}")) == "the token has expired"


def test_remembered_token_ends_with_its_system(house: House) -> None:
    """A revoked system's token is refused at the next call after the change."""
    token = house.token()
    house.bearer(token)
    house.revoke("marriage")
    house.identify.forget(Change(1, ChangeKind.SYSTEM, "marriage", system="marriage", withdraws=True))
    assert "revoked" in refused(house, ("authorization", f"Bearer {token}"))


def test_remembered_token_ends_with_its_clients_key(house: House) -> None:
    """A token got by a key or certificate that is withdrawn is refused once the change is known."""
    der = b"certificate"
    house.register_certificate(der)
    bound = Peer("192.0.2.7", is_tls=True, certificate_der=der)
    by_key = house.token(client_key=house.key.thumbprint)
    by_certificate = house.token(cnf={"x5t#S256": certificate_thumbprint(der)})
    house.bearer(by_key)
    house.bearer(by_certificate, peer=bound)
    house.systems["marriage"] = msgspec.structs.replace(house.systems["marriage"], keys=(), certificates=())
    house.identify.forget(Change(1, ChangeKind.SYSTEM, "marriage", withdraws=True))
    assert "key is not known" in refused(house, ("authorization", f"Bearer {by_key}"))
    assert "key is not known" in refused(house, ("authorization", f"Bearer {by_certificate}"), peer=bound)


def test_key_replaced_under_its_name_ends_its_tokens(house: House) -> None:
    """Another key registered under the `kid` of a leaked one is another key: tokens got by the old one are refused."""
    token = house.token(client_key=house.key.thumbprint)
    house.bearer(token)
    other = ClientKey(ec.generate_private_key(ec.SECP256R1()), house.key.kid)
    house.systems["marriage"] = msgspec.structs.replace(house.systems["marriage"], keys=(other.registration(),))
    house.identify.forget(Change(1, ChangeKind.SYSTEM, "marriage", withdraws=True))
    assert "key is not known" in refused(house, ("authorization", f"Bearer {token}"))


def test_other_systems_stay_remembered(house: House) -> None:
    """A change of one system drops that system's tokens only."""
    house.bearer(house.token("tax"))
    house.bearer(house.token())
    house.identify.forget(Change(1, ChangeKind.SYSTEM, "marriage"))
    house.identify.forget(Change(2, ChangeKind.GRANT, "g1"))
    assert len(house.identify._remembered) == 1


def test_remembered_token_ends_with_its_key(house: House) -> None:
    """A token whose signing key was withdrawn without overlap is refused within a second."""
    token = house.token()
    house.bearer(token)
    house.ring.rotate("token", overlap_seconds=0)
    house.now.at += 1.1
    assert refused(house, ("authorization", f"Bearer {token}")) == "the token's key is not known"


def test_replaced_key_verifies_through_its_overlap(house: House) -> None:
    """After a rotation old tokens hold until they expire, and new ones hold at once."""
    token = house.token()
    house.ring.rotate("token")
    house.bearer(token)
    house.bearer(house.token())
    assert len(house.ring.jwks()["keys"]) == 2


def test_change_during_lookup_is_not_lost(house: House) -> None:
    """A system revoked while it was being looked up is looked up again, and never remembered as it was."""
    lookup = house.system

    def slow(identity: str) -> object:
        found = lookup(identity)
        if house.lookups == 1:
            house.revoke("marriage")
            house.identify.forget(Change(1, ChangeKind.SYSTEM, "marriage"))
        return found

    house.identify._system = slow  # type: ignore[assignment]
    assert "revoked" in refused(house, ("authorization", f"Bearer {house.token()}"))
    assert house.lookups == 2


def test_memory_is_bounded(house: House) -> None:
    """However many tokens come, no more than the bound are remembered."""
    house.identify = house.new_identifier(max_remembered=3)
    for _ in range(8):
        house.bearer(house.token())
    assert len(house.identify._remembered) == 3


def test_certificate_bound_token_needs_its_certificate(house: House) -> None:
    """A token bound by RFC 8705 is `mtls` with its certificate, and nothing without it."""
    der = b"not parsed here: TLS has verified it"
    house.register_certificate(der)
    token = house.token(cnf={"x5t#S256": certificate_thumbprint(der)})
    bound = Peer("192.0.2.7", is_tls=True, certificate_der=der)
    assert house.bearer(token, peer=bound).assurance is Assurance.MTLS
    assert house.bearer(token, peer=bound).assurance is Assurance.MTLS
    field = ("authorization", f"Bearer {token}")
    assert "certificate" in refused(house, field)
    assert "certificate" in refused(house, field, peer=msgspec.structs.replace(bound, certificate_der=b"another"))


def test_proof_bound_token_needs_a_proof(house: House) -> None:
    """A token bound by RFC 9449 is `dpop` with a fresh proof, and nothing without one or with an old one."""
    token = house.token(cnf={"jkt": house.key.thumbprint})
    proof = house.proof(token)
    caller = house.call(("authorization", f"DPoP {token}"), ("dpop", proof))
    assert caller.assurance is Assurance.DPOP
    assert "used before" in refused(house, ("authorization", f"DPoP {token}"), ("dpop", proof))
    assert "without a proof" in refused(house, ("authorization", f"Bearer {token}"))
    assert "without a proof" in refused(house, ("authorization", f"DPoP {token}"))
    stolen = house.proof(token, key=house.other_key)
    assert "another key" in refused(house, ("authorization", f"DPoP {token}"), ("dpop", stolen))


def test_unbound_token_does_not_pass_as_bound(house: House) -> None:
    """The DPoP scheme with a plain token is refused (RFC 9449 §7.1)."""
    token = house.token()
    assert "not bound" in refused(house, ("authorization", f"DPoP {token}"), ("dpop", house.proof(token)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"method": "POST"}, "another method"),
        ({"uri": "https://gateway.test/public-security/marriage"}, "another URI"),
        ({"uri": "https://elsewhere.test/public-security/household"}, "another URI"),
        ({"uri": "http://gateway.test/public-security/household"}, "another URI"),
        ({"at": 1}, "not of now"),
    ],
)
def test_proof_of_another_request_is_refused(house: House, changes: dict[str, object], reason: str) -> None:
    """Method, URI and time of a proof are those of the request."""
    token = house.token(cnf={"jkt": house.key.thumbprint})
    assert reason in refused(house, ("authorization", f"DPoP {token}"), ("dpop", house.proof(token, **changes)))


@pytest.mark.parametrize(
    "uri",
    [
        "HTTPS://GATEWAY.test:443/public-security/household",
        "https://gateway.test/public-security/%68ousehold",
        "https://gateway.test/public-security/household?id=1#x",
    ],
)
def test_equivalent_uri_is_the_same(house: House, uri: str) -> None:
    """`htu` is compared after syntax- and scheme-based normalisation (RFC 9449 §4.3)."""
    token = house.token(cnf={"jkt": house.key.thumbprint})
    house.call(("authorization", f"DPoP {token}"), ("dpop", house.proof(token, uri=uri)))


def test_nonce_is_asked_for_and_given(tmp_path: Path) -> None:
    """Without a current nonce the refusal bears one; with it the call goes through, for minutes and not longer."""
    house = House(tmp_path, nonces=True)
    token = house.token(cnf={"jkt": house.key.thumbprint})
    with pytest.raises(GatewayError) as refusal:
        house.call(("authorization", f"DPoP {token}"), ("dpop", house.proof(token, nonce=None)))
    headers = dict(refusal.value.headers)
    assert "use_dpop_nonce" in headers["WWW-Authenticate"]
    nonce = headers["DPoP-Nonce"]
    house.call(("authorization", f"DPoP {token}"), ("dpop", house.proof(token, nonce=nonce)))
    house.now.at += 241
    with pytest.raises(GatewayError):
        house.call(("authorization", f"DPoP {token}"), ("dpop", house.proof(token, nonce=nonce)))
    assert house.security.counters == {}


@pytest.mark.parametrize(
    "fields",
    [
        [("authorization", "Bearer a"), ("authorization", "Bearer b")],
        [("authorization", "Basic dTpw")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer a.b.c d")],
        [("authorization", "Bearer " + "a" * 9000)],
        [("authorization", "DPoP a.b.c"), ("dpop", "x"), ("dpop", "y")],
    ],
)
def test_ambiguous_credentials_are_refused(house: House, fields: list[tuple[str, str]]) -> None:
    """Two credentials, another scheme, nothing, blanks inside, or too much: each is refused."""
    refused(house, *fields)


def test_refusals_are_counted_and_logged_seldom(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """A thousand bad tokens are counted exactly, logged ten times, and no credential is in the log."""
    secret = house.token()[:-6] + "AAAAAA"
    for _ in range(1000):
        with pytest.raises(GatewayError):
            house.identify(head(("authorization", f"Bearer {secret}")), PEER)
    assert sum(house.security.counters.values()) == 1000
    assert len(caplog.records) == 10
    assert secret not in caplog.text
    assert secret[:20] not in caplog.text


def test_flooding_address_waits_and_others_do_not(house: House) -> None:
    """Beyond its budget an address's new tokens are not even checked; remembered ones and other addresses go on."""
    house.identify = house.new_identifier(budget=FailureBudget(house.now, per_second=5, burst=5))
    good = house.token()
    house.bearer(good)
    for number in range(5):
        with pytest.raises(GatewayError, match="credential-invalid"):
            house.identify(head(("authorization", f"Bearer bad{number}")), PEER)
    with pytest.raises(GatewayError, match="rate-limited"):
        house.bearer(house.token())
    house.bearer(good)
    house.bearer(house.token(), peer=Peer("192.0.2.8"))
    house.now.at += 1
    house.bearer(house.token())


def test_flood_of_forged_proofs_is_not_checked_for_long(house: House) -> None:
    """A thief of a bound token who forges proofs is soon not listened to; its owner elsewhere is."""
    key = ClientKey(ec.generate_private_key(ec.SECP384R1()))
    token = house.token(cnf={"jkt": key.thumbprint})

    def forged() -> str:
        message, _, signature = house.proof(token, key=key).rpartition(".")
        return f"{message}.{part(unpart(signature)[::-1])}"

    codes = Counter(code_of(house, ("authorization", f"DPoP {token}"), ("dpop", forged())) for _ in range(400))
    # 800 checks of ES256 at once, of which one of ES384 takes six.
    assert codes == {"credential-invalid": 134, "rate-limited": 266}
    owner = Peer("198.51.100.1", is_tls=True)
    good = house.proof(token, key=key)
    assert house.call(("authorization", f"DPoP {token}"), ("dpop", good), peer=owner).system == "marriage"


def test_dear_signatures_spend_more_of_the_budget(tmp_path: Path) -> None:
    """SM2 is checked in Python: a flood of forged SM2 tokens gets no more of a processor than another."""
    house = House(tmp_path)
    ring = KeyRing.create(tmp_path / "commercial", token_algorithm="SM2", now=house.now)
    issuer = TokenIssuer(ring, ISSUER, AUDIENCE, house.now)
    house.verifier = TokenVerifier(OwnIssuer(ISSUER, AUDIENCE, ring), house.now)
    house.identify = house.new_identifier(budget=FailureBudget(house.now))
    token, _ = issuer.issue(house.systems["marriage"])
    message, _, signature = token.rpartition(".")
    forged = f"{message}.{part(unpart(signature)[::-1])}"
    codes = Counter(code_of(house, ("authorization", f"Bearer {forged}")) for _ in range(40))
    assert codes == {"credential-invalid": 7, "rate-limited": 33}
    assert house.bearer(token, peer=Peer("198.51.100.1", is_tls=True)).system == "marriage"


def code_of(house: House, *fields: tuple[str, str]) -> str:
    try:
        house.call(*fields)
    except GatewayError as refusal:
        return refusal.code
    return "let through"


def test_token_is_looked_up_by_its_hash(house: House) -> None:
    """No key of the memory is a token, so that no comparison's time tells of one."""
    token = house.token()
    house.bearer(token)
    assert list(house.identify._remembered) == [hashlib.sha256(token.encode()).digest()]
