"""Existing platforms' contracts identify callers, once a signature, for one system and one purpose."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from gateway.domain.callers import Assurance
from gateway.domain.changes import Change, ChangeKind
from gateway.domain.errors import GatewayError
from gateway.identity.callers import legacy
from gateway.identity.callers.legacy import LegacyIdentifier, seal_secret
from tests.unit.identity.identity_kit import House
from tests.unit.identity.legacy_kit import MAKERS, SECRET, WINDOWS, Legacy, guangdong, national, zhejiang

NOT_SIGNED = "no registered key of that name has made this signature"


@pytest.fixture
def house(tmp_path: Path) -> Legacy:
    return Legacy(tmp_path)


def send(house: House, fields: Mapping[str, str], url: str = "/a/b") -> object:
    parts = urlsplit(url)
    changes = {"path": parts.path.encode(), "query": parts.query.encode()}
    return house.call(*fields.items(), head=changes)


def refused(house: House, fields: Mapping[str, str], url: str = "/a/b") -> str:
    with pytest.raises(GatewayError) as refusal:
        send(house, fields, url)
    assert refusal.value.code == "credential-invalid"
    assert SECRET not in str(refusal.value)
    return refusal.value.detail


@pytest.mark.parametrize("contract", MAKERS)
def test_contract_identifies_its_caller(house: Legacy, contract: str) -> None:
    """Each contract yields the key's system and purpose, at assurance `legacy`."""
    caller = send(house, MAKERS[contract](house.now()))
    assert (caller.system, caller.department) == ("marriage", "civil-affairs")  # type: ignore[attr-defined]
    assert (caller.purpose, caller.assurance) == ("marriage-registration", Assurance.LEGACY)  # type: ignore[attr-defined]
    assert caller.credential == f"{contract}:caller-7"  # type: ignore[attr-defined]


@pytest.mark.parametrize("contract", MAKERS)
def test_signature_is_good_once(house: Legacy, contract: str) -> None:
    """The same signature a second time is refused, at this worker and at another."""
    fields = MAKERS[contract](house.now())
    send(house, fields)
    assert refused(house, fields) == "the signature was used before"
    other = LegacyIdentifier(house.load, house.system, house.ring, house.replay.use_once, house.now)
    house.identify = house.new_identifier(legacy=other)
    assert refused(house, fields) == "the signature was used before"


def test_other_spelling_of_a_signature_is_the_same(house: Legacy) -> None:
    """Guangdong's hex in the other case is no second signature."""
    at = house.now()
    send(house, guangdong(at))
    assert refused(house, guangdong(at, upper=True)) == "the signature was used before"
    send(house, guangdong(at, nonce="2", upper=True))


@pytest.mark.parametrize("contract", MAKERS)
def test_signature_holds_within_its_window(house: Legacy, contract: str) -> None:
    """Just inside the window it holds, just outside it does not, in both directions."""
    at, window = float(int(house.now())), WINDOWS[contract]
    house.now.at = at
    send(house, MAKERS[contract](at - window + 1))
    send(house, MAKERS[contract](at + window - 1))
    assert refused(house, MAKERS[contract](at - window - 2)) == "the signature is not of now"
    assert refused(house, MAKERS[contract](at + window + 2)) == "the signature is not of now"


def test_signature_before_the_memory_is_refused(tmp_path: Path) -> None:
    """What was signed before the replay memory began might have been used before: it is refused."""
    house = Legacy(tmp_path, since=lambda: int(time.time()) + 5)
    assert refused(house, national(house.now())) == "the signature is not of now"


@pytest.mark.parametrize(
    "fields",
    [
        lambda at: national(at, secret="another secret altogether"),
        lambda at: {**national(at), "gjgxjhpt_sid": "s_1"},
        lambda at: {**national(at), "gjgxjhpt_rtime": str(int(at * 1000) + 1)},
        lambda at: {**national(at), "gjgxjhpt_rid": "caller-8"},
        lambda at: {**national(at), "gjgxjhpt_sign": ""},
        lambda at: zhejiang(at, url="/a/c"),
        lambda at: {**zhejiang(at), "x-bg-hmac-algorithm": "none"},
        lambda at: {**zhejiang(at), "x-bg-date-time": "yesterday"},
        lambda at: {**guangdong(at), "x-tif-nonce": "other"},
        lambda at: {**guangdong(at), "x-tif-signature": "00"},
        lambda at: {**guangdong(at), "x-tif-timestamp": str(int(at * 1000))},
    ],
)
def test_changed_signed_header_is_refused(house: Legacy, fields: Callable[[float], dict[str, str]]) -> None:
    """Whatever is signed cannot be changed, and what is malformed is not guessed at."""
    refused(house, fields(house.now()))


def test_incomplete_or_mixed_contracts_are_refused(house: Legacy) -> None:
    """A missing header, headers of two contracts, or a token besides are one meaning too many."""
    fields = national(house.now())
    assert "not complete" in refused(house, {k: v for k, v in fields.items() if k != "gjgxjhpt_sign"})
    assert "two contracts" in refused(house, {**fields, **guangdong(house.now())})
    assert "two credentials" in refused(house, {**fields, "authorization": f"Bearer {house.token()}"})


@pytest.mark.parametrize(
    ("url", "signed"),
    [
        ("/a/b?b=2&a=1", None),
        ("/a/b?b=2&a=1", "b=2&a=1"),
        ("/a/b?name=%E5%BC%A0&id=1", "id=1&name=张"),
        ("/a/b?name=%e5%bc%a0&id=1", "id=1&name=%E5%BC%A0"),
        ("/a/b?q=x%20y", "q=x%20y"),
        ("/a/b", ""),
    ],
)
def test_query_is_signed_as_clients_do(house: Legacy, url: str, signed: str | None) -> None:
    """Zhejiang's clients sign the query sorted, as sent, decoded, or encoded anew; each of them passes."""
    send(house, zhejiang(house.now(), url=url, signed=signed), url)
    assert refused(house, zhejiang(house.now() + 1, url=url, signed="id=2"), url) == NOT_SIGNED


def test_repeats_are_a_choice(tmp_path: Path) -> None:
    """Where a deployment lets equal requests of one second pass, so many do and no more."""
    house = Legacy(tmp_path, repeats=3)
    fields = zhejiang(house.now())
    for _ in range(3):
        send(house, fields)
    refused(house, fields)


def test_key_is_loaded_once_and_forgotten_on_change(house: Legacy) -> None:
    """A key stays at hand until a change of keys or systems; a withdrawn one is refused at the next call."""
    for second in range(3):
        send(house, national(house.now() + second))
    assert house.loads == 1
    stored = house.keys["gjgxjhpt", "caller-7"]
    house.keys["gjgxjhpt", "caller-7"] = msgspec.structs.replace(stored, active=False)
    house.identify.forget(Change(1, ChangeKind.KEY, "caller-7", system="marriage", withdraws=True))
    assert refused(house, national(house.now() + 9)) == NOT_SIGNED
    house.keys["gjgxjhpt", "caller-7"] = stored
    house.revoke("marriage")
    house.identify.forget(Change(2, ChangeKind.SYSTEM, "marriage"))
    assert refused(house, national(house.now() + 10)) == NOT_SIGNED


@pytest.mark.parametrize("contract", MAKERS)
def test_a_key_that_is_not_there_is_told_as_one_that_did_not_sign(
    house: Legacy, contract: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known, withdrawn or invented: one sentence goes out, the same signatures are made, and the log tells which."""
    noted: list[str] = []
    monkeypatch.setattr(house.identify.security, "note", lambda why, _address: noted.append(why))
    made: list[str] = []
    digest, sha256 = legacy.hmac.digest, legacy.hashlib.sha256
    monkeypatch.setattr(legacy.hmac, "digest", lambda *given: made.append("hmac") or digest(*given))
    monkeypatch.setattr(legacy.hashlib, "sha256", lambda *given: made.append("sha256") or sha256(*given))
    fields = MAKERS[contract](house.now())
    wrong = {name: value[::-1] if name.endswith(("sign", "signature")) else value for name, value in fields.items()}
    counts = []
    for withdrawn in (False, True):
        made.clear()
        stored = house.keys[contract, "caller-7"]
        house.keys[contract, "caller-7"] = msgspec.structs.replace(stored, active=not withdrawn)
        house.identify.forget(Change(1, ChangeKind.KEY, "caller-7", system="marriage", withdraws=True))
        assert refused(house, wrong) == NOT_SIGNED
        made.clear()
        assert refused(house, wrong) == NOT_SIGNED
        counts.append(list(made))
    assert counts[0] == counts[1] != []
    assert noted == ["the signature does not verify"] * 2 + ["the key is not known or withdrawn"] * 2


def test_flood_of_invented_keys_drives_no_key_out(house: Legacy, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of keys that do not exist is bounded, and stands apart from keys in use."""
    monkeypatch.setattr(legacy, "MAX_KNOWN_KEYS", 8)
    house.call(*national(house.now()).items())
    for number in range(50):
        with pytest.raises(GatewayError, match="no registered key"):
            house.call(*national(house.now(), rid=f"invented-{number}").items())
    loads = house.loads
    house.now.at += 1
    house.call(*national(house.now()).items())
    assert house.loads == loads
    assert len(house.legacy._unknown) == 8


def test_secret_is_sealed_to_its_key(house: Legacy) -> None:
    """A sealed secret moved to another key's row does not open there, and short secrets are not taken."""
    stored = house.keys["gjgxjhpt", "caller-7"]
    assert SECRET.encode() not in stored.secret
    house.keys["gjzwfwpt", "caller-7"] = msgspec.structs.replace(stored, contract="gjzwfwpt")
    with pytest.raises(GatewayError, match="does not open"):
        send(house, national(house.now(), "gjzwfwpt"))
    for contract, key_id, secret in [("gjgxjhpt", "a", "short"), ("other", "a", SECRET), ("gjgxjhpt", "a b", SECRET)]:
        with pytest.raises(GatewayError, match="invalid-input"):
            seal_secret(house.ring.field_cipher(), contract, key_id, secret)
