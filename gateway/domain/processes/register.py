"""Every table of a process by its name."""

from collections.abc import Mapping

from gateway.domain.processes.applications import APPLICATIONS
from gateway.domain.processes.complaints import COMPLAINTS
from gateway.domain.processes.corrections import CORRECTIONS
from gateway.domain.processes.directory_changes import DIRECTORY_CHANGES
from gateway.domain.processes.disposals import DISPOSALS
from gateway.domain.processes.disputes import DISPUTES
from gateway.domain.processes.incidents import INCIDENTS
from gateway.domain.processes.rectifications import RECTIFICATIONS
from gateway.domain.processes.returns import RETURNS
from gateway.domain.processes.table import Process
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
