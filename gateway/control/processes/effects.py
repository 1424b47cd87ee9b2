"""What the steps of each process do besides, by the name of the process."""

from collections.abc import Mapping

from gateway.control.processes import (
    applications,
    complaints,
    directory_changes,
    disputes,
    owed,
    supervision,
    verifications,
)
from gateway.control.processes.steps import Effects

EFFECTS: Mapping[str, Effects] = {
    "applications": applications.EFFECTS,
    "verifications": verifications.EFFECTS,
    "disputes": disputes.EFFECTS,
    "rectifications": owed.RECTIFICATIONS,
    "disposals": owed.DISPOSALS,
    "incidents": supervision.INCIDENTS,
    "returns": supervision.RETURNS,
    "complaints": complaints.EFFECTS,
    "corrections": supervision.CORRECTIONS,
    "directory-changes": directory_changes.EFFECTS,
}
