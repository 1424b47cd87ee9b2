"""What is read has one meaning: an accepted document reads the same elsewhere, an altered token is refused."""

import base64
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.errors import GatewayError
from gateway.identity.callers.dpop import canonical_uri
from gateway.identity.strict import MAX_SAFE_INTEGER, Unreadable, parse_base64url, parse_object, to_base64url
from tests.unit.identity.identity_kit import PEER, House, head

URIS = st.one_of(
    st.text(max_size=40),
    st.builds(
        "{}://{}{}{}".format,
        st.sampled_from(["http", "https", "HTTPS", "ftp"]),
        st.text("aA0.-:@[]%/\\", max_size=12),
        st.sampled_from(["", ":80", ":443", ":0443", ":99999"]),
        st.text("/aA%20fF~?#.;", max_size=20),
    ),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(st.binary(max_size=200))
def test_base64url_round_trips(data: bytes) -> None:
    """What is encoded here is read here, and by the standard library alike."""
    text = to_base64url(data)
    assert parse_base64url(text.encode()) == data
    assert base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) == data


@given(st.text("ABYZabyz0189-_=+/ \n", max_size=24))
def test_only_one_text_stands_for_some_bytes(text: str) -> None:
    """Whatever text is read, it is the very text that encoding the bytes gives."""
    try:
        data = parse_base64url(text.encode())
    except Unreadable:
        return
    assert to_base64url(data) == text


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=6))
def test_accepted_json_reads_as_everywhere(value: dict[str, object]) -> None:
    """An object within the limits is read as any parser reads it."""
    assert parse_object(json.dumps(value, ensure_ascii=False).encode(), most_brackets=1000) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """No bytes make the reader fail in another way than by refusing."""
    for read in (parse_object, parse_base64url):
        try:
            read(data)
        except Unreadable:
            continue


@given(URIS)
def test_canonical_uri_is_a_fixed_point(uri: str) -> None:
    """Whatever URI is taken, normalising it again changes nothing; whatever is not, is refused and nothing else."""
    try:
        canonical = canonical_uri(uri)
    except Unreadable:
        return
    assert canonical_uri(canonical) == canonical
    assert canonical.startswith(("http://", "https://"))
    assert not {"?", "#"} & set(canonical)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":{"b":1,"b":2}}',
        '{"a":1,"\\u0061":2}',
        '{"a":NaN}',
        '{"a":-Infinity}',
        '{"a":1e400}',
        '{"a":-9007199254740993}',
        '{"a":1}x',
        '\ufeff{"a":1}',
        '{"a":"\t"}',
        "{'a':1}",
        '{"a":01}',
        "null",
        '"a"',
        "",
    ],
)
def test_ambiguous_json_is_refused(text: str) -> None:
    """INVARIANT: ONE-MEANING. Duplicates (also by escape), non-numbers, byte order marks, control characters."""
    with pytest.raises(Unreadable):
        parse_object(text.encode())


TOKENS: dict[str, str] = {}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(Path(tmp_path_factory.mktemp("house")))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None)
@given(data=st.data())
def test_token_changed_anywhere_is_refused(house: House, data: st.DataObject) -> None:
    """One character of a token replaced, removed or put in: whichever it is, the token is refused."""
    token = TOKENS.setdefault("one", house.token())
    place = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.sampled_from("ABab01-_.=+/"))
    cut = data.draw(st.integers(0, 1))
    changed = token[:place] + character + token[place + cut :]
    if changed == token:
        return
    with pytest.raises(GatewayError) as refusal:
        house.identify(head(("authorization", f"Bearer {changed}")), PEER)
    assert refusal.value.code == "credential-invalid"
