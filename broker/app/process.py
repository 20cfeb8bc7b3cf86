"""The daemon as a process: what it keeps to itself, and how it spends its time."""

import contextlib
import ctypes
import gc
import resource
import sys


def keep_memory_private() -> None:
    """No core dumps, and no other process of the same user may look into this one: it holds keys and tokens."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        pr_set_dumpable = 4  # <sys/prctl.h>
        ctypes.CDLL(None).prctl(pr_set_dumpable, 0, 0, 0, 0)


def allow_many_connections() -> None:
    """Take as many open files as the system lets this user have: idle strangers must not use up the few of a shell."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS says "unlimited" and means less
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def settle_garbage() -> None:
    """Leave what was built at the start out of every later collection, and collect less often.

    With the default thresholds, walking the libraries' own objects takes a fifth of a call's time (docs/decisions).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
