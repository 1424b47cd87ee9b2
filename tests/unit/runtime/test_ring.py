"""The key ring is had from a folder, a file, the environment or a systemd credential, under a passphrase or not."""

from pathlib import Path

import pytest

from gateway.domain.errors import GatewayError
from gateway.identity.keys.keyring import KeyRing
from gateway.runtime.home import GatewayHome
from gateway.runtime.ring import open_ring, passphrase
from gateway.runtime.settings import Settings

PASSPHRASE = "eleven grey herons on a wire"
EVERYTHING = frozenset({"token", "log", "field", "pseudonym"})


@pytest.fixture
def home(tmp_path: Path) -> GatewayHome:
    return GatewayHome(tmp_path)


def credentials(folder: Path, **documents: str) -> dict[str, str]:
    place = folder / "credentials"
    place.mkdir()
    for name, text in documents.items():
        file = place / name.replace("_", "-")
        file.touch(0o400)
        file.chmod(0o600)
        file.write_text(text)
        file.chmod(0o400)
    return {"CREDENTIALS_DIRECTORY": str(place)}


@pytest.mark.parametrize("phrase", [None, PASSPHRASE])
def test_one_ring_from_every_place(home: GatewayHome, phrase: str | None) -> None:
    """The same keys, whichever way they come; the environment before the credential before the folder."""
    made = KeyRing.create(home.root / "keys", passphrase=phrase)
    document = made.bundle()
    secret = {"GATEWAY_PASSPHRASE": phrase} if phrase else {}
    elsewhere = home.root / "ring.json"
    elsewhere.touch(0o600)
    elsewhere.write_text(document)
    for settings, environment in (
        ({}, {}),
        ({"identity": {"keys": elsewhere}}, {}),
        ({"identity": {"keys": "/nowhere"}}, {"GATEWAY_KEYS": document}),
        ({"identity": {"keys": "/nowhere"}}, credentials(home.root, gateway_keys=document)),
    ):
        ring = open_ring(home, Settings.model_validate(settings), EVERYTHING, {**environment, **secret})
        assert ring.token_signer().kid == made.token_signer().kid
        assert ring.digest_key() == made.digest_key()


def test_passphrase_from_environment_or_credential(home: GatewayHome) -> None:
    """The environment's comes first; a credential's last line break is no part of it; nothing is nothing."""
    KeyRing.create(home.root / "keys", passphrase=PASSPHRASE)
    held = credentials(home.root, gateway_passphrase=PASSPHRASE + "\n")
    assert passphrase(held) == PASSPHRASE
    assert passphrase({**held, "GATEWAY_PASSPHRASE": "another"}) == "another"
    assert passphrase({}) is None
    assert open_ring(home, Settings(), EVERYTHING, held).token_signer()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "under a passphrase, and none is set"),
        ({"GATEWAY_PASSPHRASE": "wrong " + PASSPHRASE}, "passphrase is wrong"),
    ],
)
def test_ring_does_not_open_without_its_passphrase(home: GatewayHome, environment: dict[str, str], said: str) -> None:
    """One sentence, and neither passphrase in it."""
    KeyRing.create(home.root / "keys", passphrase=PASSPHRASE)
    with pytest.raises(GatewayError, match=said) as refused:
        open_ring(home, Settings(), EVERYTHING, environment)
    assert PASSPHRASE not in str(refused.value)
