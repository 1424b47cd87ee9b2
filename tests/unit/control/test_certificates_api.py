"""Suppliers' certificates over the API: uploaded, parsed, sealed, named; no path of the machine, one meaning."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.control.act.examples import INTERFACE
from gateway.domain.changes import ChangeKind
from tests.support.certificates import Authority
from tests.support.control import World, done, refused


class Pems:
    """An authority and two client certificates, as PEM."""

    def __init__(self, folder: Path) -> None:
        authority = Authority()
        self.ca = authority.write_ca(folder / "ca.pem").read_text()
        self.client = authority.write("gateway.example", folder / "client.pem").read_text()
        self.other = authority.write("other.example", folder / "other.pem").read_text()
        self.leaf, mark, key = self.client.partition("-----BEGIN PRIVATE KEY-----")
        self.key = mark + key
        self.other_key = self.other[self.other.index("-----BEGIN PRIVATE KEY-----") :]


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Pems:
    return Pems(tmp_path_factory.mktemp("pems"))


def body(use: str, pem: str, **fields: Any) -> dict[str, Any]:
    return {"supplier": "public-security", "name": "police", "use": use, "pem": pem, **fields}


def test_certificates_are_stored_named_and_their_key_never_leaves(world: World, pems: Pems) -> None:
    """What is kept is what was parsed; the key is sealed, and no answer, list or record holds any of it."""
    dirty = "subject=whatever\r\n" + pems.client.replace("\n", "\r\n") + "-- trailing"
    answers = [done(world.post("police", "/v1/certificates", body("client", dirty)))]
    answers.append(done(world.get("police", "/v1/certificates")))
    stored = world.store.certificates("public-security", "police")
    assert stored is not None
    assert stored.chain == pems.leaf
    secret = "".join(pems.key.split("\n")[1:-2])
    assert secret[:40] not in repr(answers) + stored.sealed_key
    assert "PRIVATE" not in repr(answers)
    opened = world.ring.field_cipher().unseal(stored.sealed_key, stored.key_context)
    assert opened.decode() == pems.key
    assert done(world.get("market-both", "/v1/certificates"))["items"] == []


def faulty(pems: Pems) -> dict[str, tuple[str, str]]:
    broken = pems.ca[:100] + "!!!" + pems.ca[110:]
    return {
        "a path": ("authority", "/etc/shadow"),
        "nothing": ("authority", ""),
        "no authority": ("authority", pems.leaf),
        "an authority that loses one": ("authority", pems.ca + pems.leaf),
        "a key among authorities": ("authority", pems.ca + pems.key),
        "a broken block": ("authority", broken),
        "a block cut off": ("authority", pems.ca + pems.ca[:200]),
        "another kind of block": (
            "authority",
            pems.ca + "-----BEGIN DH PARAMETERS-----\nMEYC\n-----END DH PARAMETERS-----\n",
        ),
        "a client without key": ("client", pems.leaf),
        "a client with another's key": ("client", pems.leaf + pems.other_key),
        "a client with two keys": ("client", pems.client + pems.other_key),
        "a chain in the wrong order": ("client", pems.ca + pems.client),
        "a chain that is none": ("client", pems.client + pems.other.partition("-----BEGIN PRIV")[0]),
        "too much": ("authority", pems.ca * 400),
    }


@pytest.mark.parametrize("what", range(14))
def test_upload_that_is_not_what_it_should_be_is_refused(world: World, pems: Pems, what: int) -> None:
    """By a sentence that says what is wrong and repeats nothing of it."""
    use, pem = list(faulty(pems).values())[what]
    said = refused(world.post("police", "/v1/certificates", body(use, pem)), "invalid-input")
    assert said["faults"]
    assert "shadow" not in repr(said)
    assert world.store.all_certificates() == ()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "a\r\nb", "A", "", "x" * 64, "a.pem"])
def test_name_that_is_no_name_is_refused(world: World, pems: Pems, name: str) -> None:
    """Names are slugs, in uploads and in interfaces alike."""
    refused(world.post("police", "/v1/certificates", body("authority", pems.ca, name=name)), "invalid-input")
    for field in ("tls_ca", "tls_client"):
        refused(world.post("police", "/v1/interfaces", {**INTERFACE, field: name}), "invalid-input")


def test_client_certificate_is_its_departments_alone(world: World, pems: Pems) -> None:
    """Another department's interface cannot name it, nor store one for it; and its use is not exchanged."""
    done(world.post("police", "/v1/certificates", body("client", pems.client)))
    refused(world.post("market-both", "/v1/certificates", body("client", pems.client)), "act-not-permitted")
    done(world.post("police", "/v1/interfaces", {**INTERFACE, "tls_client": "police"}))
    wrong_use = refused(world.post("police", "/v1/interfaces", {**INTERFACE, "tls_ca": "police"}), "invalid-input")
    assert wrong_use["faults"][0]["field"] == "tls_ca"
    theirs = {**INTERFACE, "supplier": "market", "tls_client": "police"}
    said = refused(world.post("market-both", "/v1/interfaces", theirs), "invalid-input")
    assert "tls_client" in {fault["field"] for fault in said["faults"]}


def test_withdrawn_certificates_withdraw_their_interfaces_calls(make_world: Callable[..., World], pems: Pems) -> None:
    """BARRIER: each interface that names them is in the feed as withdrawn, and the answer tells which."""
    world = make_world()
    done(world.post("police", "/v1/certificates", body("client", pems.client)))
    done(world.post("police", "/v1/interfaces", {**INTERFACE, "tls_client": "police"}))
    before = world.store.sequence()
    path = "/v1/certificates/public-security/police/withdrawal"
    answer = done(world.post("police", path, {"reason": "the key was lost"}))
    assert answer["interfaces"] == ["public-security/household"]
    changes = world.store.changes_after(before)
    assert [(each.kind, each.withdraws) for each in changes] == [(ChangeKind.INTERFACE, True)]
    refused(world.post("police", path, {"reason": "again"}), "not-found")
