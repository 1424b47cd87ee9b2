# ruff: noqa: PLC0415 - a peer is imported where it is installed
"""One peer's client, made as its documentation says, for `client_peers`: `python client_contestants.py PEER HABIT URL`.

It runs in the peer's environment, which has nothing of ours but, for ours, the sources. Prints what the caller saw.
"""

import contextlib
import logging
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

ASKED = "442000199001011234"
TOKENS = {"herd", "hang", "unavailable"}
Client = Any


class Plain:
    """`httpx`, with the retries of its transport."""

    modules = ("httpx",)

    def __init__(self, url: str) -> None:
        import httpx

        self.url = url
        self.http = httpx.Client(
            transport=httpx.HTTPTransport(retries=3), timeout=1, follow_redirects=True,
            headers={"Authorization": "Bearer secret"},
        )  # fmt: skip

    def get(self) -> str:
        return self.http.get(f"{self.url}/a/b", params={"id": ASKED}).raise_for_status().text

    def post(self) -> str:
        return self.http.post(f"{self.url}/a/b", json={}).raise_for_status().text


class Authlib(Plain):
    """`OAuth2Client` with the client credentials grant."""

    modules = ("authlib.integrations.httpx_client",)

    def __init__(self, url: str) -> None:
        from authlib.integrations.httpx_client import OAuth2Client

        self.url = url
        self.http = OAuth2Client(
            "s", "secret", token_endpoint=f"{url}/token", grant_type="client_credentials", timeout=1,
            follow_redirects=True, token={"access_token": "old", "token_type": "Bearer", "expires_at": 1},
        )  # fmt: skip


class Google:
    """`AuthorizedSession` of a service account."""

    modules = ("google.auth.transport.requests", "google.oauth2.service_account")

    def __init__(self, url: str) -> None:
        from cryptography.hazmat.primitives.asymmetric import rsa
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
        from google.auth.transport.requests import AuthorizedSession
        from google.oauth2.service_account import Credentials

        key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        info = {"client_email": "s@example", "private_key": key.decode(), "token_uri": f"{url}/token"}
        self.url = url
        self.http = AuthorizedSession(Credentials.from_service_account_info(info, scopes=["s"]))

    def get(self) -> str:
        answer = self.http.get(f"{self.url}/a/b", params={"id": ASKED}, timeout=1)
        answer.raise_for_status()
        return answer.text

    def post(self) -> str:
        answer = self.http.post(f"{self.url}/a/b", json={}, timeout=1)
        answer.raise_for_status()
        return answer.text


class Boto:
    """A client of DynamoDB, whose credentials come from the container's endpoint."""

    modules = ("boto3",)

    def __init__(self, url: str) -> None:
        os.environ |= {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/creds", "AWS_DEFAULT_REGION": "r",
                       "AWS_EC2_METADATA_DISABLED": "true"}  # fmt: skip
        import boto3
        from botocore.config import Config

        config = Config(read_timeout=1, connect_timeout=1, retries={"mode": "standard"})
        self.http = boto3.client("dynamodb", endpoint_url=url, config=config)

    def get(self) -> str:
        return str(self.http.list_tables(ExclusiveStartTableName=ASKED))

    post = get


class Stripe:
    """`StripeClient` with two retries."""

    modules = ("stripe",)

    def __init__(self, url: str) -> None:
        import stripe

        self.http = stripe.StripeClient(
            "sk_test", base_addresses={"api": url}, max_network_retries=2,
            http_client=stripe.RequestsClient(timeout=1) if hasattr(stripe, "RequestsClient") else None,
        )  # fmt: skip

    def get(self) -> str:
        return str(self.http.v1.customers.list({"email": ASKED}))

    def post(self) -> str:
        return str(self.http.v1.customers.create({}))


class Ours:
    """`SharingClient`."""

    modules = ("gateway.client.client",)

    def __init__(self, url: str) -> None:
        from gateway.client import SharingClient, new_private_key

        self.http = SharingClient(
            url, token_endpoint=f"{url}/token", client_id="s", key=new_private_key(), purpose="p", timeout=1,
            environment={},
        )  # fmt: skip

    def get(self) -> str:
        return self.http.call("a/b", id=ASKED).text

    def post(self) -> str:
        return self.http.call("a/b", json={}).text


PEERS = {"httpx": Plain, "Authlib": Authlib, "google-auth": Google, "boto3": Boto, "stripe": Stripe, "ours": Ours}


def timed(client: Client) -> float:
    """How long one call takes, whatever comes of it."""
    began = time.monotonic()
    with contextlib.suppress(Exception):
        client.get()
    return time.monotonic() - began


def outcome(call: Any) -> str:
    """`answered`, or the name of the error."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - each peer has errors of its own
        return type(error).__name__
    return "answered"


def run(peer: str, habit: str, url: str) -> str:
    """What the caller saw."""
    kind = PEERS[peer]
    if habit == "import":
        before, began = set(sys.modules), time.process_time()
        for module in kind.modules:
            __import__(module)
        return f"{(time.process_time() - began) * 1000:.0f} / {len(set(sys.modules) - before)}"
    if habit in TOKENS and peer in {"httpx", "stripe"}:
        return "-"
    if habit == "log":
        logging.basicConfig(level=logging.INFO, stream=(heard := _Heard()))
    began = time.monotonic()
    try:
        client = kind(url)
    except Exception as error:  # noqa: BLE001 - boto3 asks for credentials when a client is made
        return f"{time.monotonic() - began:.1f} ({type(error).__name__})"
    if habit in TOKENS:
        times = {"herd": 50, "hang": 5, "unavailable": 20}[habit]
        with ThreadPoolExecutor(times) as pool:
            return f"{max(pool.map(timed, [client] * times)):.1f}"
    said = outcome(client.post if habit == "post" else client.get)
    if habit == "half":
        return "taken for all" if said == "answered" else said
    if habit == "log":
        return "yes" if ASKED in heard.text else "no"
    return said


class _Heard:
    """What was logged."""

    text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        """There is nothing to flush."""


if __name__ == "__main__":
    print(run(*sys.argv[1:4]), flush=True)
    os._exit(0)
