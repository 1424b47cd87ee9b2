"""What credentials cost a worker, in CPU time a request: `.venv/bin/python tests/bench/identity_tokens.py`.

Good credentials are measured once remembered, bad ones as a flood of ever different ones. The limit for a bad token
is 100 µs on average (print `--json` to keep a result).
"""

import argparse
import json
import logging
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from gateway.client.keys import ClientKey
from gateway.domain.errors import GatewayError
from gateway.identity.callers.certificates import certificate_thumbprint
from gateway.identity.callers.security_log import FailureBudget
from gateway.identity.keys.keyring import KeyRing
from gateway.identity.tokens.issuing import TokenIssuer
from gateway.identity.tokens.verify import OwnIssuer, TokenVerifier
from gateway.proxy.ports import Peer, RequestHead
from tests.unit.identity.identity_kit import AUDIENCE, ISSUER, PEER, head, part, resigned, unpart
from tests.unit.identity.legacy_kit import Legacy, guangdong, national

LIMIT_US = 100.0


def cost_us(run: Callable[[int], Any], count: int) -> float:
    """CPU time of one of `count` runs, microseconds; a refusal is a result like any other."""
    begun = time.process_time_ns()
    for number in range(count):
        try:
            run(number)
        except GatewayError:
            continue
    return (time.process_time_ns() - begun) / count / 1000


def measure(count: int) -> dict[str, float]:
    """Cost by kind of credential, microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        house = Legacy(Path(folder))
        return {**_good(house, count), **_bad(house, count)}


def _good(house: Legacy, count: int) -> dict[str, float]:
    der = random.randbytes(1200)
    house.register_certificate(der)
    over_tls = Peer("192.0.2.7", is_tls=True, certificate_der=der)
    bearer, bound = house.token(), house.token(cnf={"x5t#S256": certificate_thumbprint(der)})
    dpop = house.token(cnf={"jkt": house.key.thumbprint})
    house.bearer(bearer)
    house.bearer(bound, peer=over_tls)
    house.call(("authorization", f"DPoP {dpop}"), ("dpop", house.proof(dpop)))
    house.call(*national(house.now()).items())
    house.call(*guangdong(house.now(), nonce="first").items())
    plain, with_certificate = head(("authorization", f"Bearer {bearer}")), head(("authorization", f"Bearer {bound}"))
    proofs = [head(("authorization", f"DPoP {dpop}"), ("dpop", house.proof(dpop))) for _ in range(count // 4)]
    old = [head(*national(house.now() + number / 1000).items()) for number in range(1, count // 4)]
    other = [head(*guangdong(house.now(), nonce=str(number)).items()) for number in range(count // 4)]
    identify = house.identify
    return {
        "good: bearer, remembered": cost_us(lambda _: identify(plain, PEER), count),
        "good: mtls, remembered": cost_us(lambda _: identify(with_certificate, over_tls), count),
        "good: dpop, remembered, new proof": cost_us(lambda n: identify(proofs[n], PEER), len(proofs)),
        "good: national contract": cost_us(lambda n: identify(old[n], PEER), len(old)),
        "good: guangdong contract": cost_us(lambda n: identify(other[n], PEER), len(other)),
    }


def _bad(house: Legacy, count: int) -> dict[str, float]:
    token = house.token()
    message, _, _ = token.rpartition(".")
    forged = [head(("authorization", f"Bearer {message}.{part(random.randbytes(64))}")) for _ in range(count)]
    expired = resigned(house, payload={"exp": 1000, "iat": 900})
    kinds = {
        "bad: noise": [head(("authorization", f"Bearer {random.randbytes(300).hex()}")) for _ in range(count)],
        "bad: expired": [head(("authorization", f"Bearer {expired}"))] * count,
        "bad: unknown kid": [
            head(("authorization", f"Bearer {resigned(house, header={'kid': str(number)}, token=token)}"))
            for number in range(count)
        ],
        "bad: 8 KiB of brackets": [head(("authorization", f"Bearer {part(b'[' * 4000)}.{'e' * 2000}.AA"))] * count,
        "bad: forged, signature checked": forged,
        "bad: legacy, wrong signature": [
            head(*national(house.now() + number / 1000, secret="x" * 16).items()) for number in range(count)
        ],
    }
    costs = {}
    for name, heads in kinds.items():
        house.identify = house.new_identifier(legacy=house.legacy)
        costs[name] = cost_us(lambda number, heads=heads: house.identify(heads[number], PEER), count)
    house.identify = house.new_identifier(budget=FailureBudget(house.now))
    costs["bad: forged, as a flood under the budget"] = flood_us(house, forged)
    costs["bad: SM2 forged, as a flood under the budget"] = _bad_sm2(house, count)
    for curve in (ec.SECP256R1(), ec.SECP384R1()):
        costs[f"bad: proofs forged by {curve.name}, as a flood"] = _bad_proofs(house, curve, count)
    return costs


def flood_us(house: Legacy, heads: list[RequestHead]) -> float:
    """Cost of one of `heads` that all come within one second from one address."""
    return cost_us(lambda number: house.identify(heads[number], PEER), len(heads))


def _bad_sm2(house: Legacy, count: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        ring = KeyRing.create(Path(folder), token_algorithm="SM2", now=house.now)
        issuer = TokenIssuer(ring, ISSUER, AUDIENCE, house.now)
        message, _, _ = issuer.issue(house.systems["marriage"])[0].rpartition(".")
        commercial = TokenVerifier(OwnIssuer(ISSUER, AUDIENCE, ring), house.now)
        own, house.verifier = house.verifier, commercial
        house.identify = house.new_identifier(budget=FailureBudget(house.now))
        house.verifier = own
        # The first half below the curve's order, so that the signature is computed and not refused at a glance.
        signatures = (b"\x01" + random.randbytes(31) + b"\x01" + random.randbytes(31) for _ in range(count))
        heads = [head(("authorization", f"Bearer {message}.{part(each)}")) for each in signatures]
        return flood_us(house, heads)


def _bad_proofs(house: Legacy, curve: ec.EllipticCurve, count: int) -> float:
    key = ClientKey(ec.generate_private_key(curve))
    token = house.token(cnf={"jkt": key.thumbprint})
    house.identify = house.new_identifier(budget=FailureBudget(house.now))
    house.call(("authorization", f"DPoP {token}"), ("dpop", house.proof(token, key=key)))
    message, _, signature = house.proof(token, key=key).rpartition(".")
    size = len(unpart(signature))
    proofs = (f"{message}.{part(bytes(1) + random.randbytes(size - 1))}" for _ in range(count))
    return flood_us(house, [head(("authorization", f"DPoP {token}"), ("dpop", proof)) for proof in proofs])


def main() -> int:
    """Print the table; exit status 1 if a flood costs more than the limit."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--count", type=int, default=4000)
    arguments.add_argument("--json", action="store_true")
    chosen = arguments.parse_args()
    logging.getLogger("gateway.security").setLevel(logging.CRITICAL)

    costs = measure(chosen.count)
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    if chosen.json:
        print(json.dumps({"machine": machine, "count": chosen.count, "cpu_us": costs}, indent=1))
    else:
        for name, cost in costs.items():
            print(f"{name:<44} {cost:8.1f} µs")
        print(f"\n{machine}; CPU time, {chosen.count} of each")
    flood = {name: cost for name, cost in costs.items() if name.startswith("bad") and "checked" not in name}
    return 0 if max(flood.values()) < LIMIT_US else 1


if __name__ == "__main__":
    sys.exit(main())
