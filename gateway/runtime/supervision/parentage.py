"""A child ends with its parent: the kernel kills it in the instant in which the parent ends, however that ends.

The closed pipe on standard input says the same where the kernel has no such call, and to a child that still starts.
"""

import ctypes
import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1


def end_with_parent(parent: int) -> bool:
    """Ask the kernel to kill this process when its parent ends; False where `parent` has ended already.

    Call it first of all: whoever ends between its start of this process and this call is found by its changed id.

    Args:
        parent: the process that started this one.
    """
    if sys.platform == "linux":
        # INVARIANT: BARRIER: a worker that nobody watches releases nothing.
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == parent
