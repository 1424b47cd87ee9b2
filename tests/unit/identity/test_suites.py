"""Both cipher suites seal, unseal and sign; SM2 and SM3 give what their standards print."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import GatewayError
from gateway.identity.keys.jwk import check_public_jwk
from gateway.identity.keys.keyring import KeyRing
from gateway.identity.keys.sm2 import Sm2PublicKey, Sm2Signer
from gateway.identity.keys.suite import SUITES
from gateway.identity.keys.symmetric import Pseudonymiser
from gateway.identity.strict import Unreadable
from gateway.identity.tokens.issuing import TokenIssuer
from gateway.identity.tokens.verify import OwnIssuer, TokenVerifier
from tests.unit.identity.identity_kit import AUDIENCE, ISSUER, Clock, House

# GB/T 32918.5 Annex A.2.
STANDARD_SECRET = bytes.fromhex("3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8")
STANDARD_POINT = bytes.fromhex(
    "09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"
    "CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13"
)
STANDARD_NUMBER = 0x59276E27D506861A16680F3AD9C02DCCEF3CC1FA3CDBE4CE6D54B80DEAC1BC21
STANDARD_SIGNATURE = bytes.fromhex(
    "F5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3"
    "B1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA"
)


def test_sm2_signs_as_its_standard_prints() -> None:
    """Key, message and number of the standard's example give its signature."""
    signer = Sm2Signer(STANDARD_SECRET)
    assert signer.public_bytes == b"\x04" + STANDARD_POINT
    assert signer._sign(b"message digest", STANDARD_NUMBER) == STANDARD_SIGNATURE
    assert Sm2PublicKey(STANDARD_POINT).verify(b"message digest", STANDARD_SIGNATURE)


@pytest.mark.parametrize(
    "signature",
    [
        STANDARD_SIGNATURE[:-1] + b"\x00",
        bytes(64),
        STANDARD_SIGNATURE[:32] + bytes(32),
        b"\xff" * 64,
        STANDARD_SIGNATURE[:63],
        STANDARD_SIGNATURE + b"\x00",
        b"",
    ],
)
def test_sm2_refuses_other_signatures(signature: bytes) -> None:
    """Changed, zero, out of range, short, long."""
    assert not Sm2PublicKey(STANDARD_POINT).verify(b"message digest", signature)
    assert not Sm2PublicKey(STANDARD_POINT).verify(b"another message", STANDARD_SIGNATURE)


def test_sm2_point_is_checked() -> None:
    """A point off the curve is no key."""
    for point in (STANDARD_POINT[:-1] + b"\x00", bytes(64), STANDARD_POINT[:-1], b"\xff" * 64):
        with pytest.raises(Unreadable):
            Sm2PublicKey(point)


def test_sm3_gives_what_its_standard_prints() -> None:
    """GB/T 32905 Annex A.1: the hash of `abc`."""
    from gateway.identity.keys.sm2 import _sm3  # noqa: PLC0415 -- a private function, tested by its standard

    assert _sm3(b"abc").hex() == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"


@pytest.mark.parametrize("name", SUITES)
@settings(max_examples=40)
@given(data=st.binary(max_size=300), context=st.binary(max_size=20), place=st.integers(0, 10_000))
def test_sealing_is_whole_or_nothing(name: str, data: bytes, context: bytes, place: int) -> None:
    """What is sealed opens under key and context; with any bit changed, or another context, it does not."""
    suite, key = SUITES[name], bytes(range(32))
    sealed = suite.seal(key, data, context)
    assert suite.unseal(key, sealed, context) == data
    changed = bytearray(sealed)
    changed[place % len(sealed)] ^= 1 << place % 8
    for wrong_key, wrong, wrong_context in [
        (key, bytes(changed), context),
        (key, sealed, context + b"x"),
        (bytes(32), sealed, context),
        (key, sealed[:10], context),
    ]:
        with pytest.raises(ValueError, match="sealed bytes"):
            suite.unseal(wrong_key, wrong, wrong_context)


def test_commercial_ring_serves_like_the_other(tmp_path: Path) -> None:
    """Under the commercial suite, and a passphrase, fields seal by SM4 and pseudonyms are by SM3."""
    now = Clock()
    KeyRing.create(tmp_path, suite="commercial", passphrase="p" * 12, now=now)
    ring = KeyRing.open(tmp_path, passphrase="p" * 12, now=now)
    assert {info.algorithm for info in ring.list()} == {"ES256", "EdDSA", "commercial"}
    cipher = ring.field_cipher()
    assert cipher.unseal(cipher.seal(b"x", "row"), "row") == b"x"
    assert Pseudonymiser(ring, now)(b"1").startswith(f"{time.gmtime(now() + 8 * 3600).tm_year}.")


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "SM2"])
def test_token_algorithm_is_a_choice(tmp_path: Path, algorithm: str) -> None:
    """Tokens by each algorithm verify, through a rotation, which keeps the algorithm; a worker needs no secret."""
    house = House(tmp_path / "house")
    ring = KeyRing.create(tmp_path / "ring", token_algorithm=algorithm, now=house.now)
    worker = KeyRing.open(tmp_path / "ring", only=frozenset(), now=house.now)
    issuer = TokenIssuer(ring, ISSUER, AUDIENCE, house.now)
    verifier = TokenVerifier(OwnIssuer(ISSUER, AUDIENCE, worker), house.now)
    first = issuer.issue(house.systems["tax"])[0]
    ring.rotate("token")
    for token in (first, issuer.issue(house.systems["tax"])[0]):
        assert verifier.verify_access(token.encode()).subject == "tax"
        changed = token[:-10] + ("A" if token[-10] != "A" else "B") + token[-9:]
        with pytest.raises(Unreadable, match="does not verify"):
            verifier.verify_access(changed.encode())
    assert {info.algorithm for info in ring.list() if info.purpose == "token"} == {algorithm}


def test_clients_do_not_register_sm2() -> None:
    """The private name is this gateway's own: a client's key of it is refused."""
    with pytest.raises(GatewayError, match="curve is not"):
        check_public_jwk(Sm2Signer(STANDARD_SECRET).public_jwk)


def test_unknown_choices_are_refused(tmp_path: Path) -> None:
    """A suite or algorithm that is not offered says what is, and leaves nothing behind."""
    with pytest.raises(GatewayError, match="international or commercial"):
        KeyRing.create(tmp_path / "a", suite="other")
    with pytest.raises(GatewayError, match="ES256, EdDSA, SM2"):
        KeyRing.create(tmp_path / "b", token_algorithm="RS256")
    assert not list(tmp_path.rglob("*.json"))
