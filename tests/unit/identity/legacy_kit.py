"""The house with keys of existing platforms' contracts, and clients written from those platforms' descriptions."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from email.utils import formatdate
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from gateway.identity.callers.legacy import CONTRACTS, LegacyIdentifier, seal_secret
from tests.unit.identity.identity_kit import House

SECRET = "294c30aa4c03c8f51dfdb9f6fb99d845"


class Key(msgspec.Struct, frozen=True):
    """As the state keeps it."""

    contract: str
    id: str
    system: str
    purpose: str
    secret: bytes
    active: bool = True


class Legacy(House):
    """The house, with one key of each contract registered for the system `marriage`."""

    def __init__(self, folder: Path, *, nonces: bool = False, **options: object) -> None:
        super().__init__(folder, nonces=nonces)
        cipher = self.ring.field_cipher()
        self.keys = {
            (contract, "caller-7"): Key(
                contract,
                "caller-7",
                "marriage",
                "marriage-registration",
                seal_secret(cipher, contract, "caller-7", SECRET),
            )
            for contract in CONTRACTS
        }
        self.loads = 0
        self.legacy = LegacyIdentifier(
            self.load,
            self.system,
            self.ring,
            self.replay.use_once,
            self.now,
            **options,  # type: ignore[arg-type]
        )
        self.identify = self.new_identifier(legacy=self.legacy)

    def load(self, contract: str, key_id: str) -> Key | None:
        self.loads += 1
        return self.keys.get((contract, key_id))


def national(at: float, contract: str = "gjgxjhpt", secret: str = SECRET, **changes: str) -> dict[str, str]:
    """What a client of the national platform sends, written from the platform's description alone."""
    rid, sid = changes.get("rid", "caller-7"), changes.get("sid", "s_1200019900000_2022")
    rtime = changes.get("rtime", str(int(at * 1000)))
    mac = hmac.new(secret.encode(), (sid + rid + rtime).encode(), hashlib.sha256).digest()
    sign = base64.b64encode(mac).decode()
    return {f"{contract}_rid": rid, f"{contract}_sid": sid, f"{contract}_rtime": rtime, f"{contract}_sign": sign}


def zhejiang(at: float, *, secret: str = SECRET, signed: str | None = None, url: str = "/a/b") -> dict[str, str]:
    parts = urlsplit(url)
    query = "&".join(sorted(parts.query.split("&"))) if signed is None else signed
    date = formatdate(at, usegmt=True)
    text = f"GET\n{parts.path}\n{query}\ncaller-7\n{date}\n"
    mac = hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()
    return {
        "x-bg-hmac-access-key": "caller-7",
        "x-bg-hmac-signature": base64.b64encode(mac).decode(),
        "x-bg-hmac-algorithm": "hmac-sha256",
        "x-bg-date-time": date,
    }


def guangdong(at: float, *, nonce: str = "18c-7f", secret: str = SECRET, upper: bool = False) -> dict[str, str]:
    stamp = str(int(at))
    digest = hashlib.sha256(f"{stamp}{secret}{nonce}{stamp}".encode()).hexdigest()
    return {
        "x-tif-paasid": "caller-7",
        "x-tif-timestamp": stamp,
        "x-tif-nonce": nonce,
        "x-tif-signature": digest.upper() if upper else digest,
    }


MAKERS: Mapping[str, Callable[[float], dict[str, str]]] = {
    "gjgxjhpt": national,
    "gjzwfwpt": lambda at: national(at, "gjzwfwpt"),
    "zhejiang": zhejiang,
    "guangdong": guangdong,
}
WINDOWS = {"gjgxjhpt": 300, "gjzwfwpt": 300, "zhejiang": 90, "guangdong": 180}
