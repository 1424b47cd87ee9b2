"""Attacks on the signed headers of existing platforms' contracts."""

from collections.abc import Callable

from gateway.domain.changes import Change, ChangeKind
from tests.unit.identity.attack_row import SIGNED, attack
from tests.unit.identity.identity_kit import House
from tests.unit.identity.legacy_kit import MAKERS, SECRET, Legacy, guangdong, national, zhejiang


def sent(name: str, source: str, reason: str, fields: Callable[[float], dict[str, str]]) -> None:
    attack(SIGNED, name, source, reason)(lambda house: house.call(*fields(house.now()).items()))


def replayed(make: Callable[[float], dict[str, str]]) -> Callable[[House], object]:
    def attempt(house: House) -> object:
        fields = tuple({**make(house.now())}.items())
        path = {"head": {"path": b"/a/b"}}
        house.call(*fields, **path)
        return house.call(*fields, **path)

    return attempt


for _contract, _make in MAKERS.items():
    attack(SIGNED, f"{_contract}: replayed", "ours: once a signature", "used before")(replayed(_make))


@attack(SIGNED, "guangdong: replayed in the other hex case", "ours", "used before")
def other_case(house: House) -> object:
    house.call(*guangdong(house.now()).items())
    return house.call(*guangdong(house.now(), upper=True).items())


@attack(SIGNED, "national: replayed under the other national contract", "ours", "used before")
def other_contract(house: House) -> object:
    """Both sign the same text; where a deployment gave both the same secret, the signature fits both."""
    at = house.now()
    house.call(*national(at).items())
    return house.call(*national(at, "gjzwfwpt").items())


@attack(SIGNED, "zhejiang: signature moved to another path", "the contract", "no registered key")
def other_path(house: House) -> object:
    return house.call(*zhejiang(house.now(), url="/a/b").items(), head={"path": b"/a/c"})


@attack(SIGNED, "zhejiang: signature moved to another query", "the contract", "no registered key")
def other_query(house: House) -> object:
    fields = zhejiang(house.now(), url="/a/b?id=1")
    return house.call(*fields.items(), head={"path": b"/a/b", "query": b"id=2"})


@attack(SIGNED, "by a key that was withdrawn", "ours", "no registered key")
def withdrawn(house: House) -> object:
    assert isinstance(house, Legacy)
    house.keys.clear()
    house.identify.forget(Change(1, ChangeKind.KEY, "caller-7", system="marriage", withdraws=True))
    return house.call(*national(house.now()).items())


sent("national: another secret", "the contract", "no registered key", lambda at: national(at, secret=SECRET[::-1]))
sent("national: empty signature", "the contract", "no registered key", lambda at: {**national(at), "gjgxjhpt_sign": ""})
sent("national: signed long ago", "ours: 5 min", "not of now", lambda at: national(at - 400))
sent("national: signed ahead", "ours: 5 min", "not of now", lambda at: national(at + 400))
sent("national: another caller's name", "the contract", "no registered key", lambda at: national(at, rid="caller-8"))
sent("national: time in seconds", "the contract", "malformed", lambda at: national(at, rtime=str(int(at))))
sent("headers of two contracts", "ours: one meaning", "two contracts", lambda at: {**national(at), **guangdong(at)})
sent(
    "zhejiang: algorithm none",
    "the contract",
    "hmac-sha256",
    lambda at: {**zhejiang(at), "x-bg-hmac-algorithm": "none"},
)


@attack(SIGNED, "a signed field twice", "ours: one meaning", "two credentials")
def field_twice(house: House) -> object:
    fields = national(house.now())
    return house.call(*fields.items(), ("gjgxjhpt_rid", "caller-7"))


@attack(SIGNED, "guangdong: nonce and time moved against each other", "the contract", "malformed")
def moved_boundary(house: House) -> object:
    """The signed text has no separators: a digit of the time taken into the nonce would keep a signature's text."""
    fields = guangdong(house.now(), nonce="5" * 8)
    moved = {"x-tif-timestamp": fields["x-tif-timestamp"] + "5", "x-tif-nonce": "5" * 7}
    return house.call(*{**fields, **moved}.items())


@attack(SIGNED, "national: service and caller moved against each other", "ours: one key, one caller", "no registered key")
def moved_caller(house: House) -> object:
    """`sid` and `rid` are signed side by side: a character moved between them keeps the text and names another key."""
    at = house.now()
    fields = national(at)
    moved = {"gjgxjhpt_sid": fields["gjgxjhpt_sid"][:-1], "gjgxjhpt_rid": fields["gjgxjhpt_sid"][-1] + "caller-7"}
    return house.call(*{**fields, **moved}.items())


sent("national: time in other digits", "the contract", "malformed", lambda at: national(at, rtime="\u00b9" * 13))
sent(
    "national: key registered under the other national contract alone",
    "ours: one key, one contract",
    "no registered key",
    lambda at: national(at, "gjzwfwpt", rid="only-exchange"),
)
