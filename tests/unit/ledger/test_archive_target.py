"""Where an object store is said to be, and what is told where it cannot be used."""

import sys

import pytest

from gateway.domain.errors import GatewayError
from gateway.ledger.archive.reading import StoreReader
from gateway.ledger.archive.target import Target, parse_address
from gateway.runtime.journals import archive_target
from gateway.runtime.settings import ArchiveSettings


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("s3://records", ("records", "")),
        ("s3://records/", ("records", "")),
        ("s3://records/sharing/node.example/log", ("records", "sharing/node.example/log/")),
    ],
)
def test_address_is_bucket_and_folder(text, parts):
    assert parse_address(text) == parts
    assert Target(*parts).address == text.rstrip("/")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "records",
        "s3:/records",
        "s3://",
        "s3://R/a",
        "s3://a/b",
        "s3://re..cords/a",
        "s3://records/a//b",
        "s3://records/../b",
        "s3://records/a b",
        "s3://records/a\nb",
        "https://records/a",
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(GatewayError, match="is no address of the form"):
        parse_address(text)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("url", "https://store.example/records", "is written `s3://bucket/prefix`"),
        ("endpoint", "http://store.example", "shows records to anyone on the way"),
        ("endpoint", "store.example", "is written `https://host`"),
        ("endpoint", "https://[", "is written `https://host`"),
        ("interval_seconds", 0.5, "greater than or equal to 1"),
    ],
)
def test_settings_say_what_is_meant(field, value, said):
    with pytest.raises(ValueError, match=said):
        ArchiveSettings(**{field: value})


def test_without_an_address_there_is_no_store():
    assert archive_target(ArchiveSettings()) is None
    told = archive_target(ArchiveSettings(url="s3://records/a", endpoint="http://127.0.0.1:1", encryption="AES256"))
    assert told == Target("records", "a/", endpoint="http://127.0.0.1:1", encryption="AES256")


def test_store_without_its_client_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(GatewayError, match=r"needs the extra `archive`: pip install 'sharing-gateway\[archive\]'"):
        StoreReader(Target("records"))
