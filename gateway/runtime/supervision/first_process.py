"""The first process of a container reaps: the kernel gives it every process whose own parent has ended.

`gateway serve` is often the first process of its PID namespace. A supervisor knows its own children and waits for no
others, so that orphans would stay as zombies until the table of processes is full. So there the first process does
nothing but reap and pass signals on, and the supervisor is its child.
"""

import contextlib
import os
import signal

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def leave_the_first_place() -> None:
    """Go on in a child where this is the first process; elsewhere nothing happens. Call it before threads are started.

    The first process ends as its child does, with 128 and the signal's number where a signal ended it.
    """
    if os.getpid() != 1:
        return
    # A signal that comes meanwhile waits until there is somebody to pass it on to.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    for number in PASSED_ON:
        signal.signal(number, lambda given, _frame: _pass_on(child, given))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    ended, status = 0, 0
    while ended != child:
        ended, status = os.wait()
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _pass_on(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)
