"""What the C library does with memory that is free again."""

import contextlib
import ctypes

MMAP_THRESHOLD, LARGE = -3, 2**17  # of mallopt; the bytes that glibc begins with


def return_memory() -> None:
    """Have large blocks given back to the system when they are free.

    glibc would come to keep those of the size of the largest one so far, some in each thread: 80 requests of 25 MB took
    the page's server 0.8 GB that no other program could have, and a long prime 0.15 GB.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # only glibc has it
        ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, LARGE)
