"""Every table of a process by its name."""

from collections.abc import Mapping

from gateway.domain.directory import SharingAttribute
from gateway.domain.processes.applications import APPLICATIONS
from gateway.domain.processes.complaints import COMPLAINTS
from gateway.domain.processes.corrections import CORRECTIONS
from gateway.domain.processes.directory_changes import DIRECTORY_CHANGES
from gateway.domain.processes.disposals import DISPOSALS
from gateway.domain.processes.disputes import DISPUTES
from gateway.domain.processes.incidents import INCIDENTS
from gateway.domain.processes.rectifications import RECTIFICATIONS
from gateway.domain.processes.returns import RETURNS
from gateway.domain.processes.table import STATED, STOPS, Process
from gateway.domain.processes.verifications import VERIFICATIONS

PROCESSES: Mapping[str, Process] = {
    each.name: each
    for each in (
        APPLICATIONS,
        VERIFICATIONS,
        DISPUTES,
        RECTIFICATIONS,
        DISPOSALS,
        INCIDENTS,
        RETURNS,
        COMPLAINTS,
        CORRECTIONS,
        DIRECTORY_CHANGES,
    )
}


def clock_names() -> frozenset[str]:
    """The names of the clocks that some step begins: those that a layer can set (`clocks.yaml`)."""
    begun = {step.clock for process in PROCESSES.values() for step in process.steps if step.clock}
    shared = [each.value for each in SharingAttribute if each is not SharingAttribute.NON_SHAREABLE]
    return frozenset(name.format(attribute=each) for name in begun - {STATED, STOPS} for each in shared)
