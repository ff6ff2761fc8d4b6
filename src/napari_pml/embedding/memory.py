"""Memory of the process that runs a network: the business of an application, not of a library."""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`: how much free memory is kept, and above which size none is."""


def keep_freed_memory() -> None:
    """Keep the memory of a frame's features for the next frame, on Linux; elsewhere this changes nothing.

    Without it, the system hands out and clears that memory anew for every frame, a quarter of the time of an embedding.
    It holds for the whole process, so the commands, the workers and the plugin call it, and loading a network does not.
    """
    # PyTorch reads this variable once, when it first needs a large block: large pages are handed out faster.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 64 * 1024**2)  # the largest features of a 480p frame take 40 MB
        libc.mallopt(M_TRIM_THRESHOLD, 256 * 1024**2)
