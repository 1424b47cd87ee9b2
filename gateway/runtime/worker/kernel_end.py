"""The kernel ends this process at a moment, whatever the process does then, even if it stands still.

A POSIX timer that sends SIGKILL: it needs no thread and no turn of a loop, and a stopped process is ended too. A worker
sets it to a moment shortly after its lease runs out and puts it off with every new one. So what its kernel holds for
callers cannot go on leaving when the worker hangs, with or without a supervisor and a control process that look.
"""

import ctypes
import signal
import time
from typing import Any

_ABSOLUTE = 1
_BY_SIGNAL = 0


class _Event(ctypes.Structure):
    """`struct sigevent`, 64 octets on Linux."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("number", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_byte * 48),
    )


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Time), ("value", _Time))


class KernelEnd:
    """One timer of this process; where the system has none, nothing happens and `is_armed` stays False.

    It is on the clock of leases (`CLOCK_BOOTTIME`): a machine that wakes after the moment ends the process at once.
    """

    def __init__(self) -> None:
        self.is_armed = False
        self._timer = ctypes.c_void_p()
        self._library: Any = None
        if not hasattr(time, "CLOCK_BOOTTIME"):
            return
        library = ctypes.CDLL(None, use_errno=True)
        event = _Event(None, signal.SIGKILL, _BY_SIGNAL)
        if (
            hasattr(library, "timer_create")
            and library.timer_create(time.CLOCK_BOOTTIME, ctypes.byref(event), ctypes.byref(self._timer)) == 0
        ):
            self._library = library

    def at(self, moment: float) -> None:
        """End this process at `moment` of the lease clock, in place of what was set before."""
        self.is_armed = self._set(moment)

    def never(self) -> None:
        """Do not end it."""
        self._set(0.0)
        self.is_armed = False

    def _set(self, moment: float) -> bool:
        if self._library is None:
            return False
        seconds = int(moment)
        setting = _Setting(_Time(0, 0), _Time(seconds, int((moment - seconds) * 1e9)))
        return bool(self._library.timer_settime(self._timer, _ABSOLUTE, ctypes.byref(setting), None) == 0)
