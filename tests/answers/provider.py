"""An OpenID provider in process: metadata, keys, and an ID token for whoever brings the code."""

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.client.keys import ClientKey
from gateway.identity.officers.oidc import OpenIdSignIn, Provider
from tests.support.control import ISSUER

URL = "https://identity.example/realms/gov"
CLIENT = "sharing-gateway"
CODE = "code-1"


class ExampleProvider:
    """Signs one officer in.

    Args:
        officer: whom.
        clock: Unix seconds.
    """

    def __init__(self, officer: str, clock: Callable[[], float]) -> None:
        self._officer = officer
        self._clock = clock
        self._secret = ec.generate_private_key(ec.SECP256R1())
        self._key = ClientKey(self._secret, "identity-1")
        self._nonce = ""
        self.agreed = False

    def sign_in(self) -> OpenIdSignIn:
        """The gateway's side of it."""
        provider = Provider(URL, CLIENT, "the client's secret", f"{ISSUER}/sign-in/provider/answer")
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._serve))
        return OpenIdSignIn(provider, self._clock, client=client)

    def authorize(self, address: str) -> dict[str, str]:
        """What the browser comes back with from `address`."""
        asked = parse_qs(urlsplit(address).query)
        self._nonce = asked["nonce"][0]
        return {"code": CODE, "state": asked["state"][0]}

    def logout_token(self) -> str:
        """What it sends when the officer has signed out there."""
        now = int(self._clock())
        event = {"http://schemas.openid.net/event/backchannel-logout": {}}
        claims = {"iss": URL, "sub": "u-1", "aud": CLIENT, "iat": now, "exp": now + 120, "jti": "l-1", "events": event}
        return jwt.encode(claims, self._secret, "ES256", headers={"kid": "identity-1", "typ": "logout+jwt"})

    def _serve(self, request: httpx.Request) -> httpx.Response:
        place = str(request.url).removeprefix(URL)
        if place == "/.well-known/openid-configuration":
            names = {
                "authorization_endpoint": "/auth",
                "token_endpoint": "/token",
                "jwks_uri": "/keys",
                "device_authorization_endpoint": "/device",
            }
            return httpx.Response(200, json={"issuer": URL, **{name: URL + path for name, path in names.items()}})
        if place == "/keys":
            return httpx.Response(200, json={"keys": [self._key.registration()]})
        if place == "/device":
            asked = {"device_code": "d-1", "user_code": "WDJB-MJHT", "verification_uri": URL + "/device"}
            return httpx.Response(200, json={**asked, "expires_in": 600, "interval": 5})
        if "device_code=d-1" in request.content.decode() and not self.agreed:
            return httpx.Response(400, json={"error": "authorization_pending"})
        now = int(self._clock())
        claims = {"iss": URL, "sub": "u-1", "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": self._nonce}
        claims["preferred_username"] = self._officer
        token = jwt.encode(claims, self._secret, "ES256", headers={"kid": "identity-1"})
        return httpx.Response(200, json={"id_token": token, "access_token": "at", "refresh_token": "rt"})
