"""The certified OpenID provider from npm, `oidc-provider`, in a process of its own; and a browser that fills forms."""

import json
import os
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest

FOLDER = Path(__file__).parent / "openid"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def require_provider() -> None:
    """Have the provider installed from its lock; skip, and say why, where it cannot be. On CI it must be."""
    if shutil.which("node") and (FOLDER / "node_modules" / "oidc-provider").is_dir():
        return
    npm, said = shutil.which("npm"), "there is no npm"
    if npm is not None:
        done = subprocess.run([npm, "ci", "--ignore-scripts"], cwd=FOLDER, capture_output=True, text=True, check=False)
        said = done.stderr[-500:]
        if done.returncode == 0:
            return
    if os.environ.get("CI"):
        pytest.fail(f"the OpenID provider cannot be installed: {said}")
    pytest.skip(f"the OpenID provider is not here, and cannot be installed: {said}")


class CertifiedProvider:
    """Runs until closed; serves once `serve_client` was called.

    Args:
        secret: of the gateway's client there.
    """

    def __init__(self, secret: str = "a+b%c&d:e") -> None:
        require_provider()
        self.secret = secret
        self.client_id = "sharing-gateway"
        self._process = subprocess.Popen(
            ["node", "provider.mjs"],
            cwd=FOLDER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.issuer = str(self._read()["issuer"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_unused: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def serve_client(self, gateway: str) -> None:
        """Take the gateway at that control plane as the client."""
        self.tell(
            client={
                "client_id": self.client_id,
                "client_secret": self.secret,
                "redirect_uris": [f"{gateway}/sign-in/provider/answer"],
                "grant_types": ["authorization_code", "refresh_token", DEVICE_GRANT],
                "response_types": ["code"],
                "backchannel_logout_uri": f"{gateway}/sign-in/provider/logout",
                "backchannel_logout_session_required": True,
            }
        )

    def tell(self, **order: Any) -> None:
        """Give an order of `provider.mjs`, and wait until it is done."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        assert answer.get("done"), answer

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the provider ended"
        found: dict[str, Any] = json.loads(line)
        return found


class _Forms(HTMLParser):
    """The first form of a page: where it goes, and its fields."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "form" and self.action is None:
            self.action = found.get("action") or ""
        if tag in ("input", "button") and found.get("name") and found["name"] not in self.fields:
            self.fields[str(found["name"])] = found.get("value") or ""


class Browser:
    """A person's browser: follows redirects, and fills the forms that it meets.

    Args:
        person: who sits before it.
        agrees: what it presses on a page of consent of the gateway.
    """

    def __init__(self, person: str, *, agrees: bool = True) -> None:
        self.person = person
        self.agrees = agrees
        self.client = httpx.Client(trust_env=False, timeout=30)
        self.pages: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.client.close()

    def open(self, url: str, *, until: str = "\0", user_code: str = "") -> httpx.Response:
        """Go on from `url` to where nothing is to be filled in, or to a redirect to what begins with `until`."""
        answer = self.client.get(url)
        for _ in range(30):
            if answer.is_redirect:
                target = urljoin(str(answer.url), answer.headers["Location"])
                if target.startswith(until):
                    return answer
                answer = self.client.get(target)
                continue
            page = _Forms()
            page.feed(answer.text)
            if page.action is None or answer.is_error:
                return answer
            self.pages.append(answer.text)
            filled = page.fields
            if "login" in filled:
                filled |= {"login": self.person, "password": "whatever"}
            if "user_code" in filled and not filled["user_code"]:
                filled["user_code"] = user_code
            filled.pop("abort", None)
            if "ticket" in filled:
                filled["answer"] = "yes" if self.agrees else "no"
            answer = self.client.post(urljoin(str(answer.url), page.action), data=filled)
        raise AssertionError("the pages lead nowhere")


def query_of(url: str) -> dict[str, str]:
    """The parameters of a URL."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
