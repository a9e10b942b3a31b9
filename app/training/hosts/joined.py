"""JAX over several processes, once these have met."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from typing import NoReturn

from musicgen.app.training.hosts.meeting import Met
from musicgen.app.training.hosts.watch import LOST

JOINS = 120  # seconds for what takes one
SILENT = 30  # seconds without a sign from a process after which it hangs
# What JAX, Gloo and NCCL say when another process does not answer.
LOST_WORDS = ("gloo", "nccl", "coordination", "unavailable", "deadline_exceeded", "connection closed", "socket")


def join(met: Met) -> None:
    """Let JAX see the devices of all processes."""
    import jax
    from jaxlib import _jax

    # Gloo would listen at the address of the host's own name, which Debian writes as 127.0.1.1.
    make = getattr(_jax, "make_gloo_tcp_collectives", None)
    if make is not None:
        _jax.make_gloo_tcp_collectives = functools.partial(make, hostname=met.address)
    jax.distributed.initialize(
        met.coordinator,
        met.place.count,
        met.place.index,
        local_device_ids=met.place.devices,
        initialization_timeout=JOINS,
        heartbeat_timeout_seconds=SILENT,
    )


def leave_together() -> None:
    """Wait for all, of which the first one may still write, and part: JAX would abort whoever is left behind."""
    import jax
    from jax.experimental.multihost_utils import sync_global_devices

    sync_global_devices("the end of the run")
    jax.distributed.shutdown()


def is_loss(error: BaseException) -> bool:
    """Whether an error is that another process is lost, if there are several."""
    import jax

    said = str(error).lower()
    return jax.process_count() > 1 and any(word in said for word in LOST_WORDS)


def leave_lost(error: BaseException) -> NoReturn:
    """End this process; its parent hears who it was."""
    sys.stderr.flush()
    os.write(2, "".join(traceback.format_exception(error)).encode("utf-8", "replace"))
    os._exit(LOST)
