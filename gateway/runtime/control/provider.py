"""The OpenID provider that officers sign in at, from the settings: each fault is named with its setting and file."""

import time
from pathlib import Path

from gateway.client.keys import ClientKey
from gateway.domain.errors import GatewayError
from gateway.identity.officers.oidc import OpenIdSignIn, Provider, is_safe_url
from gateway.runtime.settings import Settings

PROVIDER_ANSWER_PATH = "/sign-in/provider/answer"


def provider_of(settings: Settings, issuer: str) -> OpenIdSignIn | None:
    """The OpenID provider that officers sign in at, or None where the settings name none."""
    officers = settings.officers
    if officers.provider is None:
        return None
    if not is_safe_url(officers.provider):
        raise GatewayError("invalid-input", "`officers.provider` is no https URL")
    if not officers.client_id:
        raise GatewayError("invalid-input", "`officers.provider` needs `officers.client_id`")
    if (officers.client_secret_file is None) is (officers.client_key_file is None):
        raise GatewayError(
            "invalid-input", "`officers.provider` needs `officers.client_secret_file` or `officers.client_key_file`"
        )
    secret, assertion = "", None
    if officers.client_secret_file is not None:
        secret = _read(officers.client_secret_file, "officers.client_secret_file").strip()
    elif officers.client_key_file is not None:
        key = ClientKey(_read(officers.client_key_file, "officers.client_key_file"))
        client_id = officers.client_id
        assertion = lambda audience: key.assertion(client_id, audience, int(time.time()))  # noqa: E731
    provider = Provider(
        issuer=officers.provider,
        client_id=officers.client_id,
        client_secret=secret,
        redirect_uri=issuer.rstrip("/") + PROVIDER_ANSWER_PATH,
        officer_claim=officers.officer_claim,
        allow_rs256=officers.allow_rs256,
        assertion=assertion,
        scopes=officers.scopes,
    )
    return OpenIdSignIn(provider, time.time)


def _read(file: Path, setting: str) -> str:
    try:
        found = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GatewayError("invalid-input", f"`{setting}`: `{file}` cannot be read") from error
    if not found.strip():
        raise GatewayError("invalid-input", f"`{setting}`: `{file}` is empty")
    return found
