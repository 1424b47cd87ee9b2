"""What the steps of each process do besides, by the name of the process."""

from collections.abc import Mapping

from gateway.control.processes import applications, disputes, verifications
from gateway.control.processes.steps import Effects

EFFECTS: Mapping[str, Effects] = {
    "applications": applications.EFFECTS,
    "verifications": verifications.EFFECTS,
    "disputes": disputes.EFFECTS,
}
