"""The key ring keeps its files to itself, opens only what is asked for, and rotates with overlap and on record."""

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.domain.errors import GatewayError
from gateway.identity.keys import keyfiles
from gateway.identity.keys.keyring import PURPOSES, KeyRing, Rotation
from gateway.identity.keys.symmetric import Pseudonymiser, beijing_year
from gateway.identity.signer import SoftwareSigner
from gateway.identity.tokens.verify import OwnIssuer
from tests.unit.identity.identity_kit import Clock

PASSPHRASE = "three horses, one door"


def secrets_of(folder: Path) -> dict[str, str | None]:
    return {path.name: json.loads(path.read_text())["secret"] for path in folder.glob("*-*.json")}


def test_files_are_private(tmp_path: Path) -> None:
    """Every file is 0600 in a folder 0700, whatever the umask."""
    before = os.umask(0)
    try:
        KeyRing.create(tmp_path / "keys").rotate("token")
    finally:
        os.umask(before)
    files = list((tmp_path / "keys").iterdir())
    assert len(files) == len(PURPOSES) + 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o644, 0o602, 0o620, 0o660])
def test_open_file_is_refused(tmp_path: Path, mode: int) -> None:
    """A key file that others can read, or the group can write, is not used."""
    KeyRing.create(tmp_path)
    next(tmp_path.glob("token-*")).chmod(mode)
    with pytest.raises(GatewayError, match="chmod 600"):
        KeyRing.open(tmp_path)


def test_ring_is_not_made_twice(tmp_path: Path) -> None:
    """`create` never overwrites keys."""
    KeyRing.create(tmp_path)
    with pytest.raises(GatewayError, match="conflict"):
        KeyRing.create(tmp_path)


def test_passphrase_encrypts_every_secret(tmp_path: Path) -> None:
    """Under a passphrase no secret stands in the clear, and only that passphrase opens the ring."""
    made = KeyRing.create(tmp_path / "a", passphrase=PASSPHRASE)
    opened = KeyRing.open(tmp_path / "a", passphrase=PASSPHRASE)
    assert opened.pseudonym(time.gmtime().tm_year) == made.pseudonym(time.gmtime().tm_year)
    clear = made.pseudonym(time.gmtime().tm_year)
    assert all(clear not in path.read_bytes() for path in (tmp_path / "a").iterdir())
    for wrong, words in [(None, "none is set"), ("other", "is wrong")]:
        with pytest.raises(GatewayError, match=words):
            KeyRing.open(tmp_path / "a", passphrase=wrong)


def test_sealed_files_cannot_be_exchanged(tmp_path: Path) -> None:
    """A sealed secret moved into another key's file does not open."""
    KeyRing.create(tmp_path, passphrase=PASSPHRASE)
    log, token = next(tmp_path.glob("log-*")), next(tmp_path.glob("token-*"))
    document = json.loads(log.read_text())
    document["secret"] = json.loads(token.read_text())["secret"]
    log.write_text(json.dumps(document))
    with pytest.raises(GatewayError, match="damaged"):
        KeyRing.open(tmp_path, passphrase=PASSPHRASE)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"v":1}', b"\xff"])
def test_damaged_file_is_named_and_not_quoted(tmp_path: Path, text: bytes) -> None:
    """A damaged file stops the ring with a sentence, never with its content."""
    KeyRing.create(tmp_path)
    next(tmp_path.glob("field-*")).write_bytes(text)
    with pytest.raises(GatewayError) as refusal:
        KeyRing.open(tmp_path)
    assert "damaged" in refusal.value.detail


def test_missing_ring_says_what_to_do(tmp_path: Path) -> None:
    """No ring, no traceback."""
    with pytest.raises(GatewayError, match="gateway init"):
        KeyRing.open(tmp_path / "nowhere")


def test_process_holds_only_what_it_needs(tmp_path: Path) -> None:
    """A worker's ring verifies tokens and cannot sign them."""
    made = KeyRing.create(tmp_path)
    worker = KeyRing.open(tmp_path, only=frozenset({"field", "pseudonym"}))
    assert worker.token_keys().keys() == made.token_keys().keys()
    for forbidden in (worker.token_signer, lambda: worker.log_signer("o")):
        with pytest.raises(GatewayError, match="does not hold"):
            forbidden()
    assert worker._secrets.keys() == {k for k in made._secrets if k[0] in {"field", "pseudonym"}}


def test_rotation_overlaps_and_ends(tmp_path: Path) -> None:
    """The new key signs at once; the old one verifies for its overlap; its private half is gone from the disk."""
    now = Clock()
    ring = KeyRing.create(tmp_path, now=now)
    old = ring.token_signer().kid
    rotation = ring.rotate("token", overlap_seconds=600)
    assert (rotation.replaced, rotation.new) == (old, ring.token_signer().kid)
    assert set(ring.token_keys()) == {old, rotation.new}
    assert json.loads((tmp_path / f"token-{old}.json").read_text())["secret"] is None
    states = {info.id: info.state for info in ring.list() if info.purpose == "token"}
    assert states == {old: "retiring", rotation.new: "active"}
    now.at += 601
    assert set(ring.token_keys()) == {rotation.new}
    assert {info.state for info in ring.list() if info.id == old} == {"expired"}
    ring.rotate("token")
    assert not (tmp_path / f"token-{old}.json").exists()


def test_rotation_without_overlap_withdraws_every_earlier_key(tmp_path: Path) -> None:
    """A leak found after a yearly rotation is answered whole: no key from before it verifies anything."""
    now = Clock()
    ring = KeyRing.create(tmp_path, now=now)
    first = ring.token_signer().kid
    ring.rotate("token", overlap_seconds=7 * 86400)
    now.at += 60
    ring.rotate("token", overlap_seconds=600)
    assert first in ring.token_keys()
    now.at += 601
    assert first not in ring.token_keys()
    ring.rotate("token", overlap_seconds=0)
    assert set(ring.token_keys()) == {ring.token_signer().kid}
    assert set(KeyRing.open(tmp_path, now=now).token_keys()) == {ring.token_signer().kid}


def test_every_rotation_is_recorded_first(tmp_path: Path) -> None:
    """The record comes before the key; a rotation that cannot be recorded is not made."""
    KeyRing.create(tmp_path)
    seen: list[tuple[Rotation, int]] = []
    ring = KeyRing.open(tmp_path, record=lambda rotation: seen.append((rotation, len(list(tmp_path.iterdir())))))
    before = len(list(tmp_path.iterdir()))
    for purpose in ("token", "log", "witness", "pseudonym", "field"):
        ring.rotate(purpose)
    assert [rotation.purpose for rotation, _ in seen] == ["token", "log", "witness", "pseudonym", "field"]
    assert seen[0][1] == before

    def unrecordable(_rotation: Rotation) -> None:
        raise GatewayError("records-unavailable")

    strict = KeyRing.open(tmp_path, record=unrecordable)
    signer = strict.token_signer().kid
    with pytest.raises(GatewayError, match="records-unavailable"):
        strict.rotate("token")
    assert strict.token_signer().kid == signer


def test_other_process_sees_a_rotation(tmp_path: Path) -> None:
    """A ring that is open takes in what another process rotates, at the latest when it meets the new key."""
    KeyRing.create(tmp_path)
    worker = KeyRing.open(tmp_path, only=frozenset())
    script = "import sys; from pathlib import Path; from gateway.identity.keys.keyring import KeyRing; "
    script += "print(KeyRing.open(Path(sys.argv[1])).rotate('token').new)"
    made = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert made.stdout.strip() in worker.token_keys(eager=True)


def test_withdrawn_key_verifies_nothing_at_once_elsewhere(tmp_path: Path) -> None:
    """A key rotated without overlap is gone from every other process by the next verification, not a second later."""
    ring = KeyRing.create(tmp_path)
    old = ring.token_signer().kid
    worker = OwnIssuer("https://gateway.example", "sharing-gateway", KeyRing.open(tmp_path, only=frozenset()))
    assert worker.key(old) is not None
    new = ring.rotate("token", overlap_seconds=0).new
    assert worker.key(old) is None
    assert worker.key(new) is not None


def test_unreadable_folder_leaves_keys_as_they_are(tmp_path: Path) -> None:
    """A running gateway does not fall over a key folder that is momentarily broken."""
    ring = KeyRing.create(tmp_path)
    keys = ring.token_keys().keys()
    (tmp_path / "ring.json").write_text("broken")
    ring.poll(force=True)
    assert ring.token_keys().keys() == keys


def test_field_key_rotation_keeps_old_text_readable(tmp_path: Path) -> None:
    """What was sealed before a rotation opens after it, in its own context only."""
    ring = KeyRing.create(tmp_path)
    sealed = ring.field_cipher().seal(b"secret", "row/1")
    marks = ring.derived_secret("marks")
    ring.rotate("field")
    assert ring.field_cipher().unseal(sealed, "row/1") == b"secret"
    assert ring.field_cipher().seal(b"secret", "row/1").split(".")[1] != sealed.split(".")[1]
    assert ring.derived_secret("marks") == marks
    for text, context in [(sealed, "row/2"), (sealed[:-4] + "AAA=", "row/1"), ("v1.other.AAAA", "row/1"), ("", "")]:
        with pytest.raises(GatewayError, match="sealed field"):
            ring.field_cipher().unseal(text, context)


def test_pseudonym_is_stable_within_a_year_and_unlinkable_across(tmp_path: Path) -> None:
    """One person has one pseudonym in a Beijing calendar year, another in the next, and none tells the identifier."""
    now = Clock(1798732799.0)  # 2026-12-31 23:59:59 in Beijing, still 15:59:59 in London
    pseudonym = Pseudonymiser(KeyRing.create(tmp_path, now=now), now)
    first = pseudonym(b"11010519491231002X")
    assert first == pseudonym(b" 11010519491231002x ")
    assert first.startswith("2026.")
    assert len(first) == 27
    assert pseudonym(b"11010519491231002Y") != first
    now.at += 1
    second = pseudonym(b"11010519491231002X")
    assert second.startswith("2027.")
    assert second[5:] != first[5:]
    assert pseudonym.every(b"11010519491231002X", [2026, 2027]) == [first, second]


def test_a_ring_that_lost_its_pseudonym_keys_makes_none_in_silence(tmp_path: Path) -> None:
    """Under another key the person of yesterday's records would not be found again."""
    KeyRing.create(tmp_path, now=Clock())
    for file in tmp_path.glob("pseudonym-*.json"):
        file.unlink()
    with pytest.raises(GatewayError, match="no pseudonym key: restore"):
        Pseudonymiser(KeyRing.open(tmp_path, now=Clock()), Clock())(b"11010519491231002X")
    assert not list(tmp_path.glob("pseudonym-*.json"))


@pytest.mark.parametrize("years_on", [0, 1, 2])
def test_the_one_pseudonym_key_of_the_year_that_was_lost_is_missed(tmp_path: Path, years_on: int) -> None:
    """In the first year, and after the year has turned; next year's key, made beside it, tells that it was there."""
    now = Clock()
    KeyRing.create(tmp_path, now=now)
    for _ in range(years_on):
        now.at += 365 * 86400
        Pseudonymiser(KeyRing.open(tmp_path, now=now), now)(b"1")
    year = beijing_year(now.at)
    (tmp_path / f"pseudonym-{year}-1.json").unlink()
    with pytest.raises(GatewayError, match=f"lost its pseudonym key of {year}: restore"):
        Pseudonymiser(KeyRing.open(tmp_path, now=now), now)(b"1")
    assert not (tmp_path / f"pseudonym-{year}-1.json").exists()


def test_a_clock_that_ran_ahead_leaves_no_year_without_a_key(tmp_path: Path) -> None:
    """Keys of years to come say nothing of a year between, in which none was made; an older ring gets its next one."""
    now = Clock()
    KeyRing.create(tmp_path, now=now)
    year = beijing_year(now.at)
    (tmp_path / f"pseudonym-{year + 1}-1.json").unlink()
    ring = KeyRing.open(tmp_path, now=now)
    now.at += 30 * 365 * 86400
    Pseudonymiser(ring, now)(b"1")
    now.at -= 29 * 365 * 86400
    assert Pseudonymiser(ring, now)(b"1").startswith(f"{year + 1}.")
    assert (tmp_path / f"pseudonym-{year + 2}-1.json").exists()


def test_rotated_pseudonym_key_finds_both(tmp_path: Path) -> None:
    """After a rotation in mid-year a search asks for both pseudonyms."""
    now = Clock()
    ring = KeyRing.create(tmp_path, now=now)
    pseudonym = Pseudonymiser(ring, now)
    before = pseudonym(b"1")
    rotation = ring.rotate("pseudonym")
    assert rotation.new.endswith("-2")
    now.at += 61
    after = pseudonym(b"1")
    year = int(after[:4])
    assert pseudonym.every(b"1", [year]) == [after, before]


def test_two_processes_make_one_key_for_a_new_year(tmp_path: Path) -> None:
    """Workers that turn the year at the same moment agree on its key."""
    now = Clock()
    KeyRing.create(tmp_path, now=now)
    first, second = (KeyRing.open(tmp_path, only=frozenset({"pseudonym"}), now=now) for _ in range(2))
    assert first.pseudonym(2031) == second.pseudonym(2031)
    assert len(list(tmp_path.glob("pseudonym-2031-*"))) == 1


def test_whole_ring_fits_one_document(tmp_path: Path) -> None:
    """A ring from an environment variable or a systemd credential signs and verifies the same, and is read only."""
    ring = KeyRing.create(tmp_path / "keys", passphrase=PASSPHRASE)
    text = ring.bundle()
    credential = tmp_path / "credential"
    credential.touch(0o600)
    credential.write_text(text)
    rings = [KeyRing.parse(text, passphrase=PASSPHRASE), KeyRing.open(credential, passphrase=PASSPHRASE)]
    for other in rings:
        assert other.token_signer().kid == ring.token_signer().kid
        assert other.log_signer("o").public_bytes == ring.log_signer("o").public_bytes
        with pytest.raises(GatewayError, match="kept elsewhere"):
            other.rotate("token")
        with pytest.raises(GatewayError, match="read only"):
            other.pseudonym(2050)


def test_key_in_hardware_takes_the_place_of_the_file(tmp_path: Path) -> None:
    """A signer that is handed in signs, is published, and is not rotated here."""
    outside = SoftwareSigner.generate("EdDSA")
    KeyRing.create(tmp_path)
    ring = KeyRing.open(tmp_path, signers={"token": outside})
    assert ring.token_signer() is outside
    assert outside.kid in {jwk["kid"] for jwk in ring.jwks()["keys"]}
    with pytest.raises(GatewayError, match="kept elsewhere"):
        ring.rotate("token")


def test_file_keys_sign_and_verify_no_more_beside_hardware(tmp_path: Path) -> None:
    """What a token key in a file signs is refused once the key is in hardware: the file may have been copied."""
    inside = KeyRing.create(tmp_path).token_signer().kid
    ring = KeyRing.open(tmp_path, signers={"token": SoftwareSigner.generate("ES256")})
    assert inside not in ring.token_keys()
    assert len(ring.jwks()["keys"]) == 1


def test_log_and_witness_may_be_in_hardware(tmp_path: Path) -> None:
    """Their signers are asked for every signature; a key of another algorithm is refused in a sentence."""
    KeyRing.create(tmp_path)
    outside = {"log": SoftwareSigner.generate("EdDSA"), "witness": SoftwareSigner.generate("EdDSA")}
    ring = KeyRing.open(tmp_path, signers=outside)
    for made, signer in ((ring.log_signer("o"), outside["log"]), (ring.witness_signer("w"), outside["witness"])):
        assert made.public_bytes == signer.public_bytes
        signer._key.public_key().verify(made.sign(b"checkpoint"), b"checkpoint")
    wrong = KeyRing.open(tmp_path, signers={"log": SoftwareSigner.generate("ES256")})
    with pytest.raises(GatewayError, match="no Ed25519 key"):
        wrong.log_signer("o")


def test_process_signs_in_hardware_only_what_it_needs(tmp_path: Path) -> None:
    """A worker knows the public half of a token key in hardware, and asks for no signature."""
    KeyRing.create(tmp_path)
    outside = SoftwareSigner.generate("ES256")
    ring = KeyRing.open(tmp_path, only=frozenset({"field"}), signers={"token": outside})
    assert set(ring.token_keys()) == {outside.kid}
    with pytest.raises(GatewayError, match="does not hold the token key"):
        ring.token_signer()


def test_published_keys_are_public(tmp_path: Path) -> None:
    """The JWK Set holds no private member, and names algorithm and use."""
    (jwk,) = KeyRing.create(tmp_path).jwks()["keys"]
    assert set(jwk) == {"kty", "crv", "x", "y", "kid", "alg", "use"}


def test_unknown_purpose_is_refused(tmp_path: Path) -> None:
    """A rotation of nothing says what there is."""
    with pytest.raises(GatewayError, match="choose one of token, log"):
        KeyRing.create(tmp_path).rotate("tokens")


def test_newer_format_is_refused(tmp_path: Path) -> None:
    """A ring of a newer version is not guessed at."""
    KeyRing.create(tmp_path)
    document = json.loads((tmp_path / "ring.json").read_text())
    (tmp_path / "ring.json").write_text(json.dumps({**document, "v": keyfiles.FORMAT + 1}))
    with pytest.raises(GatewayError, match="newer version"):
        KeyRing.open(tmp_path)


def test_secrets_do_not_show(tmp_path: Path) -> None:
    """INVARIANT: NO-VALUES. Printing a key tells its name."""
    ring = KeyRing.create(tmp_path)
    (key,) = ring.pseudonym_keys(time.gmtime().tm_year)[:1]
    assert repr(key.secret) not in repr(key)
    assert key.id in repr(key)
