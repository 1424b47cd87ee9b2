"""A small OpenID provider on loopback: the authorization code flow with PKCE, a login form, and keys.

Written from OpenID Connect Core 1.0 and RFC 7636 alone, with a JOSE library that the gateway does not verify by.
"""

import base64
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.support.loopback import Loopback

REALM = "/realms/gov"


@dataclass
class _Code:
    """What a code was given for."""

    person: str
    nonce: str
    challenge: str
    redirect_uri: str


class OpenIdProvider:
    """Runs until `close`.

    Args:
        people: password by user name.
    """

    def __init__(self, people: dict[str, str]) -> None:
        self.people = people
        self.client_id = "sharing-gateway"
        self.client_secret = secrets.token_urlsafe(24)
        self.redirect_uris: set[str] = set()
        self.codes: dict[str, _Code] = {}
        self.refused_codes = 0
        self._key = RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig"}, auto_kid=False)
        loopback = Loopback()
        self.issuer, self.close = loopback.url + REALM, loopback.close
        loopback.start(self._app())

    def _app(self) -> FastAPI:
        app = FastAPI()

        @app.get(REALM + "/.well-known/openid-configuration")
        def metadata() -> dict[str, Any]:
            return {
                "issuer": self.issuer,
                "authorization_endpoint": self.issuer + "/authorize",
                "token_endpoint": self.issuer + "/token",
                "jwks_uri": self.issuer + "/keys",
                "authorization_response_iss_parameter_supported": True,
            }

        @app.get(REALM + "/keys")
        def keys() -> dict[str, Any]:
            return {"keys": [self._key.as_dict(private=False)]}

        @app.get(REALM + "/authorize")
        def ask(request: Request) -> Response:
            asked = request.query_params
            if asked["client_id"] != self.client_id or asked["redirect_uri"] not in self.redirect_uris:
                return HTMLResponse("no such client", 400)
            if asked["code_challenge_method"] != "S256" or "openid" not in asked["scope"].split():
                return HTMLResponse("not offered", 400)
            return HTMLResponse(f'<form method="post" action="?{urlencode(asked.multi_items())}"><input name="user">')

        @app.post(REALM + "/authorize")
        async def sign_in(request: Request) -> Response:
            asked, form = request.query_params, await _form(request)
            if not hmac.compare_digest(self.people.get(form["user"], "").encode(), form["password"].encode()):
                return HTMLResponse("wrong", 403)
            code = secrets.token_urlsafe(24)
            self.codes[code] = _Code(form["user"], asked["nonce"], asked["code_challenge"], asked["redirect_uri"])
            back = urlencode({"code": code, "state": asked["state"], "iss": self.issuer})
            return RedirectResponse(f"{asked['redirect_uri']}?{back}", 303)

        @app.post(REALM + "/token")
        async def exchange(request: Request) -> Response:
            form = await _form(request)
            secret = base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
            if request.headers.get("authorization") != f"Basic {secret}":
                return JSONResponse({"error": "invalid_client"}, 401)
            held = self.codes.pop(form["code"], None)
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            if held is None or held.challenge != challenge or held.redirect_uri != form["redirect_uri"]:
                self.refused_codes += 1
                return JSONResponse({"error": "invalid_grant"}, 400)
            access = secrets.token_urlsafe(24)
            token = self._id_token(held, access)
            return JSONResponse({"token_type": "Bearer", "access_token": access, "id_token": token})

        return app

    def _id_token(self, held: _Code, access: str) -> str:
        at = int(time.time())
        half = hashlib.sha256(access.encode()).digest()[:16]
        claims = {
            "iss": self.issuer,
            "sub": f"id-of-{held.person}",
            "aud": self.client_id,
            "iat": at,
            "exp": at + 300,
            "nonce": held.nonce,
            "at_hash": base64.urlsafe_b64encode(half).rstrip(b"=").decode(),
            "preferred_username": held.person,
        }
        return jwt.encode({"alg": "RS256", "kid": self._key.kid}, claims, self._key)


async def _form(request: Request) -> dict[str, str]:
    return dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
