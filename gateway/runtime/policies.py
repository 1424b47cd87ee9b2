"""The policies of the settings: in force until others are activated."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from gateway.domain.policies import PolicySet
from gateway.policy.law.layers import default_policies_root, read_set
from gateway.policy.law.settled import Settled
from gateway.runtime.settings import Settings


def policies_root(settings: Settings) -> Path:
    """The folder that the settings name, or that of the policies the gateway ships."""
    return settings.policies.root or default_policies_root()


def settled_by(settings: Settings) -> Settled:
    """What the settings say that policies read as facts."""
    return Settled(settings.policies.decision.strip(), settings.policies.longest_grant_days)


def initial_policies(settings: Settings) -> Callable[[], PolicySet]:
    """Reads the set of the settings."""
    return partial(read_set, policies_root(settings), settings.policies.layers)
