"""Makes the fork server end with its parent, when it is imported there (see `warm_up`).

A process that forks others may have no thread that watches, as workers have (`base.parent`), so the
kernel is asked. Without Linux, the fork server ends after its imports, because no worker is left.
"""

import contextlib
import ctypes
import os
import signal

PARENT = "GPT_RESEARCH_PARENT"
"""The environment variable with the number of the fork server's parent; only the fork server has
it."""
PR_SET_PDEATHSIG = 1
"""The option of prctl(2), from linux/prctl.h."""

if PARENT in os.environ:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(os.environ.pop(PARENT)):  # the parent ended before the kernel was asked
        os._exit(0)
