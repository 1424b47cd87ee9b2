"""Every table of a process by its name."""

from collections.abc import Mapping

from gateway.domain.processes.applications import APPLICATIONS
from gateway.domain.processes.disputes import DISPUTES
from gateway.domain.processes.table import Process
from gateway.domain.processes.verifications import VERIFICATIONS

PROCESSES: Mapping[str, Process] = {each.name: each for each in (APPLICATIONS, VERIFICATIONS, DISPUTES)}
