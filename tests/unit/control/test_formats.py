"""What people hand in: each format is shown by a schema and a sample that is taken as it is."""

import base64
import json
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from typer.testing import CliRunner

from gateway.cli import app
from gateway.cli.systems import read_key
from gateway.client import public_jwk
from gateway.control.act.bodies import body_model
from gateway.domain.errors import GatewayError
from gateway.runtime.operation.formats import KINDS, directory_sample, directory_schema, interface_sample
from gateway.store.directory.file import read_json
from tests.support.control import World, done


def run(*words: object) -> str:
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("suffix", [".json", ".xlsx", ".csv"])
def test_sample_of_a_directory_is_imported_as_it_is(tmp_path: Path, world: World, suffix: str) -> None:
    """By a bureau that has nothing else: departments and purposes come with it, but in CSV."""
    file = tmp_path / f"sample{suffix}"
    run("directory", "sample", file)
    assert file.read_bytes() == directory_sample(suffix)
    body: Any = json.loads(file.read_bytes()) if suffix == ".json" else None
    body = body or {"file": file.name, "content_base64": base64.b64encode(file.read_bytes()).decode()}
    answer = done(world.post("province", "/v1/directory", body))
    assert (answer["unchanged_datasets"], answer["skipped"]) == (1, [])
    done(world.post("police", "/v1/interfaces", json.loads(interface_sample())))


def test_schema_says_every_field_with_its_words_and_fits_the_sample() -> None:
    """Made from the types themselves: closed, described, and with what is required."""
    schema = json.loads(run("directory", "schema"))
    assert schema == json.loads(json.dumps(directory_schema()))
    assert set(schema["properties"]) == set(KINDS)
    for name, kind in KINDS.items():
        shown = schema["$defs"][kind.__name__]
        fields = msgspec.structs.fields(kind)
        assert set(shown["properties"]) == {field.name for field in fields}
        assert set(shown["required"]) == {field.name for field in fields if field.required}
        assert shown["additionalProperties"] is False
        assert all("description" in each for each in shown["properties"].values()), name
        for row in json.loads(directory_sample(".json")).get(name, []):
            assert set(shown["required"]) <= set(row) <= set(shown["properties"])
            body_model(kind).model_validate_json(json.dumps(row))
    assert read_json(directory_sample(".json")).datasets


def test_made_key_is_for_the_system_alone_and_its_public_part_registers(tmp_path: Path) -> None:
    """The private file is readable by its owner; PEM and JWK name the same key, private PEM tells no more."""
    file = tmp_path / "system.pem"
    run("keys", "make", file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    jwk = read_key(tmp_path / "system.pem.jwk")
    assert jwk == public_jwk(file.read_bytes()) == read_key(file)
    assert "d" not in jwk
    assert CliRunner().invoke(app, ["keys", "make", str(file)]).exit_code == 1


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()])
def test_public_pem_is_turned_into_its_jwk(tmp_path: Path, key: Any) -> None:
    """As openssl writes it; what is no such key is refused in a sentence."""
    public = tmp_path / "public.pem"
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert read_key(public) == public_jwk(private)
    sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    for content in (sealed, b"-----BEGIN PUBLIC KEY-----\nxx\n-----END PUBLIC KEY-----\n", b"{}", b"x"):
        public.write_bytes(content)
        with pytest.raises(GatewayError, match="invalid-input"):
            read_key(public)
