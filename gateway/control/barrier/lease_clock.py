"""The clock of leases: seconds that never go back and go on while the machine sleeps."""

import time

if hasattr(time, "CLOCK_BOOTTIME"):

    def lease_clock() -> float:
        """Seconds since boot, sleep included: a lease does not outlive a suspended machine."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:

    def lease_clock() -> float:
        """Seconds of the monotonic clock: this system has none that counts sleep."""
        return time.monotonic()
