"""What suppliers are shown of who calls, over the API: given once, sealed, a department's own, and never told again."""

from typing import Any

from gateway.control.act.examples import CREDENTIAL, HOST, INTERFACE
from gateway.domain.changes import ChangeKind
from gateway.domain.hosts import Host, HostState
from tests.support.control import World, done, refused

SECRET = CREDENTIAL["secret"]
OAUTH = {"supplier": "public-security", "name": "token", "kind": "oauth", "user": "us", "secret": SECRET}


def test_a_credential_is_sealed_and_never_told_again(world: World) -> None:
    """NO-VALUES: no answer, list or record holds it, and another department's interface does not name it."""
    answers = [done(world.post("police", "/v1/credentials", CREDENTIAL))]
    answers.append(done(world.get("police", "/v1/credentials")))
    stored = world.store.supplier_credential("public-security", CREDENTIAL["name"])
    assert stored is not None
    assert world.ring.field_cipher().unseal(stored.sealed, stored.seal_context).decode() == SECRET
    assert SECRET not in repr(answers) + repr(stored)
    assert stored.sealed not in repr(answers)
    assert done(world.get("market-both", "/v1/credentials"))["items"] == []
    refused(world.post("market-both", "/v1/credentials", CREDENTIAL), "act-not-permitted")
    theirs = {**INTERFACE, "supplier": "market", "credential": CREDENTIAL["name"]}
    said = refused(world.post("market-both", "/v1/interfaces", theirs), "invalid-input")
    assert "credential" in {fault["field"] for fault in said["faults"]}


def test_workers_hear_of_another_secret_and_of_none(world: World) -> None:
    """BARRIER: what is withdrawn cuts what streams under it, another secret in its place cuts nothing."""
    done(world.post("police", "/v1/credentials", CREDENTIAL))
    done(world.post("police", "/v1/interfaces", {**INTERFACE, "credential": CREDENTIAL["name"]}))

    def heard() -> list[Any]:
        changes = world.store.changes_after(before)
        return [(each.subject, each.withdraws) for each in changes if each.kind is ChangeKind.INTERFACE]

    before = world.store.sequence()
    done(world.post("police", "/v1/credentials", {**CREDENTIAL, "secret": "another", "overlap_seconds": 60}))
    assert heard() == [("public-security/household", False)]
    before = world.store.sequence()
    path = f"/v1/credentials/public-security/{CREDENTIAL['name']}/withdrawal"
    told = done(world.post("police", path, {"reason": "given up"}))
    assert told["interfaces"] == ["public-security/household"]
    assert heard() == [("public-security/household", True)]
    refused(world.post("police", path, {"reason": "given up"}), "not-found")
    again = world.post("police", "/v1/interfaces", {**INTERFACE, "credential": CREDENTIAL["name"], "title": "again"})
    assert {fault["field"] for fault in refused(again, "invalid-input")["faults"]} == {"credential"}


def test_a_token_endpoint_is_a_host_of_the_department(world: World) -> None:
    """HOST-OWNED: no secret goes to a host that somebody else may have registered, or nobody."""
    for url in ("https://sso.nobody.example/token", "https://another.example/token"):
        said = refused(world.post("police", "/v1/credentials", {**OAUTH, "token_url": url}), "invalid-input")
        assert {fault["field"] for fault in said["faults"]} == {"token_url"}
    with world.store.transaction() as tx:
        tx.put_host(Host("public-security", HOST["address"], 443, addresses=("192.0.2.9",), state=HostState.CONFIRMED))
    done(world.post("police", "/v1/credentials", {**OAUTH, "token_url": f"https://{HOST['address']}/token"}))
