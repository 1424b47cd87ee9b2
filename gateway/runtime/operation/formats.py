"""Formats of what people hand in, from the very types they become: a JSON schema, and samples that are taken as is."""

import json
from datetime import datetime
from typing import Any, get_type_hints

import msgspec

from gateway.client.keys import new_private_key, public_jwk_of_pem
from gateway.control.act.examples import DATASET, DEPARTMENT, GRANT, INTERFACE, PURPOSE, standing_on
from gateway.domain.calendar import CHINA
from gateway.domain.directory import Dataset, Department, Interface, Purpose
from gateway.domain.errors import GatewayError
from gateway.domain.words import field_words
from gateway.store.directory.exporting import export_csv, export_xlsx
from gateway.store.directory.file import DirectoryFile

KINDS: dict[str, type[msgspec.Struct]] = {
    "departments": Department,
    "purposes": Purpose,
    "datasets": Dataset,
    "interfaces": Interface,
}
SAMPLES = {
    "departments": [DEPARTMENT, {"id": "civil-affairs", "name": "市民政局", "region": "442000", "level": "city"}],
    "purposes": [PURPOSE],
    "datasets": [DATASET],
}


def directory_schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of a directory file, each field with its words."""
    _, definitions = msgspec.json.schema_components(tuple(KINDS.values()), ref_template="#/$defs/{name}")
    for name, kind in _structs(KINDS.values()).items():
        words = field_words(kind)
        shown = definitions[name]
        shown["additionalProperties"] = False
        for field, schema in shown.get("properties", {}).items():
            if field in words:
                schema["description"] = words[field]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "a directory file of the sharing gateway",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: {"type": "array", "items": {"$ref": f"#/$defs/{kind.__name__}"}} for name, kind in KINDS.items()
        },
        "$defs": definitions,
    }


def _structs(kinds: Any) -> dict[str, type[msgspec.Struct]]:
    """The types, and those their fields hold, by name."""
    found: dict[str, type[msgspec.Struct]] = {}
    waiting = list(kinds)
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            found[kind.__name__] = kind
            waiting += [inner for hint in get_type_hints(kind).values() for inner in getattr(hint, "__args__", (hint,))]
    return found


def directory_sample(suffix: str) -> bytes:
    """A directory file of that kind (`.json`, `.csv`, `.xlsx`) that a new gateway imports as it is.

    Raises:
        GatewayError: `invalid-input` for another kind.
    """
    if suffix == ".json":
        return _text(SAMPLES)
    found = msgspec.convert(SAMPLES, DirectoryFile)
    if suffix == ".xlsx":
        return export_xlsx(found)
    if suffix == ".csv":
        return export_csv(found.datasets, found.departments).encode()
    raise GatewayError("invalid-input", f"`{suffix}` is neither .json, .csv nor .xlsx")


def interface_sample() -> bytes:
    """An interface's entry, for the sample's dataset."""
    return _text(INTERFACE)


def grant_sample() -> bytes:
    """A grant of the sample's dataset that stands today."""
    return _text(standing_on(datetime.now(CHINA).date(), GRANT))


def public_jwk_of(pem: bytes) -> dict[str, Any]:
    """The public JWK of a key in PEM, private or public; of a private key nothing else is read.

    Raises:
        GatewayError: `invalid-input` where it is no key that the gateway takes.
    """
    try:
        return public_jwk_of_pem(pem)
    except (ValueError, TypeError, KeyError) as error:
        raise GatewayError("invalid-input", "the file holds no P-256, P-384, Ed25519 or RSA key in PEM") from error


def new_key() -> tuple[bytes, dict[str, Any]]:
    """A new private key of a demand system, PEM, and its public JWK."""
    pem = new_private_key().encode()
    return pem, public_jwk_of(pem)


def _text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n"
