"""What is known of the proofs of a set: by what it was proved, kept beside the policies that come with the gateway.

A result is known by a digest of all that it rests on, so it holds for that text alone, whoever brings it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.policies import PolicySet, Proved
from gateway.policy.law.constants import CONSTANTS_FILE
from gateway.policy.law.layers import PROOFS_FILE, SCHEMA_FILE, THEOREMS_FILE, cedar_files, est_to_text
from gateway.policy.law.scopes import regions_of, scoped
from gateway.policy.offline.probing import built_of_every_shape
from gateway.policy.proofs.proving import Proof
from gateway.policy.proofs.solver import Tools
from gateway.policy.proofs.theorems import theorems_of

MAX_FAILED = 100

_ANY: tuple[dict[str, Any], ...] = tuple({"effect": effect, "conditions": []} for effect in ("permit", "forbid"))

_kept = msgspec.json.Decoder(tuple[Proved, ...])


def proof_digest(policies: PolicySet) -> str:
    """SHA-256 (hex) over what the proofs of a set rest on: schema, policies, theorems, and the shapes of built ones."""
    names = [name for layer in policies.layers for name in (*cedar_files(policies.files, layer), _theorems(layer))]
    # What a set does not have was not there either when its proofs were kept.
    names += [name for layer in policies.layers if (name := f"{layer}/{CONSTANTS_FILE}") in policies.files]
    hasher = hashlib.sha256()
    built = est_to_text(built_of_every_shape())
    texts = [(name, policies.files.get(name, "")) for name in (SCHEMA_FILE, *names)]
    # Of a region's layer: what its policies begin with, and what comes along to be proved of it.
    own = [
        msgspec.json.encode((layer, begun, theorems_of(layer, region))).decode()
        for layer, region in regions_of(policies.files, policies.layers).items()
        for begun in (scoped(each, region, for_uses=True, for_acts=True) for each in _ANY)
    ]
    for part in (*policies.layers, *(part for text in texts for part in text), built, *own):
        content = part.encode("utf-8", "surrogatepass")
        hasher.update(len(content).to_bytes(8, "big"))
        hasher.update(content)
    return hasher.hexdigest()


def proved_of(policies: PolicySet, proofs: Sequence[Proof], tools: Tools) -> Proved:
    """What the proofs of a whole set come to."""
    results = {proof.result for proof in proofs}
    theorems = sum(proof.statement == "theorem" for proof in proofs)
    return Proved(
        proof_digest(policies),
        policies.layers,
        "refuted" if "refuted" in results else "unknown" if "unknown" in results else "proved",
        theorems,
        len(proofs) - theorems,
        tools.versions,
        tuple(f"{proof.statement} {proof.subject}" for proof in proofs if proof.result != "proved")[:MAX_FAILED],
    )


def read_proofs(root: Path) -> tuple[Proved, ...]:
    """What is kept below a policies root; nothing where there is no such file.

    Raises:
        GatewayError: `invalid-input`, if it holds something else.
    """
    try:
        return _kept.decode((root / PROOFS_FILE).read_bytes())
    except FileNotFoundError:
        return ()
    except msgspec.MsgspecError as error:
        raise GatewayError("invalid-input", f"`{root / PROOFS_FILE}` holds no results of proofs: {error}") from error


def write_proofs(root: Path, found: Iterable[Proved]) -> None:
    """Keep results below a policies root, in place of those that are there."""
    text = msgspec.json.format(msgspec.json.encode(tuple(found)), indent=2).decode()
    (root / PROOFS_FILE).write_text(f"{text}\n", encoding="utf-8")


def _theorems(layer: str) -> str:
    return f"{layer}/{THEOREMS_FILE}"
