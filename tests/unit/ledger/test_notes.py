"""Signed notes, checkpoints and cosignatures."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import GatewayError
from gateway.ledger.log.checkpoints import Checkpoint, cosign, parse_checkpoint, verify_checkpoint, verify_cosignature
from gateway.ledger.log.notes import (
    COSIGNATURE,
    ED25519,
    Note,
    VerifierKey,
    parse_note,
    parse_verifier_key,
    sign_note,
    verify_note,
)
from tests.support.ledger import ORIGIN, TestSigner

PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
SIGNER = TestSigner()
KEY = VerifierKey(ORIGIN, ED25519, SIGNER.public_bytes)
CHECKPOINT = Checkpoint(ORIGIN, 42, bytes(32))


def test_a_note_signed_elsewhere_verifies():
    """The example of golang.org/x/mod/sumdb/note: key id, signature and text as another program made them."""
    key = parse_verifier_key(PETER)
    assert verify_note(parse_note(PETERS_NOTE.encode()), [key]) == (key,)
    assert parse_note(PETERS_NOTE.encode()).encode() == PETERS_NOTE
    assert key.text() == PETER


def test_a_known_key_s_bad_signature_rejects_and_an_unknown_key_s_does_not_count():
    """A verifier ignores whom it does not know, and trusts no note on which a known signature fails."""
    other = TestSigner(b"\x01" * 32)
    note = sign_note("text\n", ORIGIN, SIGNER)
    with pytest.raises(GatewayError, match="no signature of a known key"):
        verify_note(note, [VerifierKey("other", ED25519, other.public_bytes)])
    forged = Note("other text\n", note.signatures)
    with pytest.raises(GatewayError, match="does not hold"):
        verify_note(forged, [KEY])
    both = Note("text\n", (*sign_note("text\n", "other", other).signatures, *note.signatures))
    assert verify_note(both, [KEY]) == (KEY,)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"text\n",
        b"\n\n",
        b"text\n\nno dash\n",
        b"t\n\n\xe2\x80\x94 n AAAA\n",
        b"t\x01\n\n\xe2\x80\x94 n AAAAAAAA\n",
    ],
)
def test_what_is_no_note_is_refused(content):
    """Malformed notes are refused before anything in them is believed."""
    with pytest.raises(GatewayError, match="not a signed note"):
        parse_note(content)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(content):
    """Whatever comes, a note is parsed or refused."""
    with contextlib.suppress(GatewayError):
        parse_note(content)


def test_a_checkpoint_comes_back():
    """Origin, size, root; further lines are allowed."""
    assert parse_checkpoint(CHECKPOINT.text()) == CHECKPOINT
    assert parse_checkpoint(CHECKPOINT.text() + "extension\n") == CHECKPOINT
    for text in (
        "a\n01\nAAAA\n",
        "a\n1\nAAAA\n",
        "\n1\n" + CHECKPOINT.text().split("\n")[2] + "\n",
        "a\n1\n",
        "a\n１\nA\n",
    ):
        with pytest.raises(GatewayError):
            parse_checkpoint(text)


def test_a_checkpoint_of_another_log_is_refused():
    """One key, one origin."""
    text = Checkpoint("another.example", 42, bytes(32)).text()
    with pytest.raises(GatewayError, match="is of log"):
        verify_checkpoint(sign_note(text, ORIGIN, SIGNER).encode().encode(), KEY)


def test_cosignatures():
    """c2sp.org/tlog-cosignature: 72 bytes after the key id, over header, time and text."""
    key = VerifierKey("witness.example/w1", COSIGNATURE, SIGNER.public_bytes)
    signature = cosign(CHECKPOINT.text(), key.name, SIGNER, 1_679_315_147)
    assert len(signature.content) == 72
    assert verify_cosignature(CHECKPOINT.text(), signature, key) == 1_679_315_147
    with pytest.raises(GatewayError):
        verify_cosignature(CHECKPOINT.text() + "more\n", signature, key)
    assert parse_verifier_key(key.text()) == key


@pytest.mark.parametrize("text", ["", "a+b+c", "name+00000000+AAAA", PETER.replace("c74f20a3", "c74f20a4"), PETER[:-4]])
def test_what_is_no_verifier_key_is_refused(text):
    """A key whose id is another's is no key."""
    with pytest.raises(GatewayError, match="verifier key"):
        parse_verifier_key(text)
