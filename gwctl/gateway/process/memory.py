"""Keep a process that lives for months small."""

from __future__ import annotations

import ctypes
import gc
import sys

FRUGAL_MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""For glibc: one arena, and large blocks (a password's scrypt takes 16 MB) returned when they are freed."""


def give_back_memory() -> None:
    """Return what is free to the system, where its C library can (glibc); elsewhere do nothing more than collect."""
    gc.collect()
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
