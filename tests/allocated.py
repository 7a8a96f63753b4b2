"""How many bytes this process has allocated, by the account of the C library."""

from __future__ import annotations

import ctypes

import pytest


class _Account(ctypes.Structure):
    """`struct mallinfo2` of glibc."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "mapped", "usmblks", "fsmblks", "used", "free", "keepcost")
    ]


def allocated_bytes() -> int:
    """Return the bytes in use, which neither load of the machine nor fragmentation changes."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        pytest.skip("the C library is not glibc from 2.33 on")
    mallinfo2.restype = _Account
    account = mallinfo2()
    return int(account.used + account.mapped)
