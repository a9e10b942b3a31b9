"""Map a function over many inputs with the workers of a Dask cluster (the `dask` extra), some of which may be lost.

A cluster is a scheduler, which knows an address, and workers, which know the scheduler's. What a worker that died or
was cut off had in hand is done again by another, so the function must be one that may be done twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from musicgen.data_prep.dataset.workers import AHEAD
from musicgen.data_prep.errors import EngineError, PrepError

In = TypeVar("In")
Out = TypeVar("Out")
MESSAGES = 16  # that Dask keeps of each connection, as long as they are: of a thousand it would be 60 MB
ANSWERS, CONNECTS = 8.0, 6.0  # seconds in which a scheduler has to answer, and to take the connection before


def check(address: str) -> None:
    """Raise EngineError unless a scheduler with workers answers there, PrepError if that is no address."""
    from distributed.comm.addressing import get_address_host_port

    try:
        get_address_host_port(address, strict=True)
        identity = asyncio.run(_ask(address))
    except ValueError:
        raise PrepError(f"{address!r} is no address of a Dask scheduler: tcp://HOST:PORT is one") from None
    except Exception:  # what answers may be anything, and so may be what Dask makes of it
        raise EngineError(
            f"no Dask scheduler answers at {address}: start one there (dask scheduler), or give the address it prints"
        ) from None
    if not identity["workers"]:
        raise EngineError(f"the Dask cluster at {address} has no workers: start some (dask worker {address})")


async def _ask(address: str) -> Any:
    from distributed.core import rpc

    async with asyncio.timeout(ANSWERS), rpc(address, timeout=CONNECTS) as scheduler:
        return await scheduler.identity()


def map_on_cluster(
    inputs: Iterable[In], function: Callable[[In], Out], address: str | None, workers: int | None = None
) -> Iterator[tuple[In, Out | None]]:
    """Yield every input and ``function`` of it, in the order they are done; None where it killed worker after worker.

    Memory is bounded: few inputs are in flight for each worker. Close the iterator to end early.

    address: of a running cluster's scheduler; None starts a cluster of ``workers`` processes here (None: one a core, 0:
    within this process).
    Raises EngineError if the scheduler is gone, and what the function raises.
    """
    from distributed import CancelledError, KilledWorker, as_completed

    rest = iter(inputs)
    with _connect(address, workers) as client:
        done = as_completed(loop=client.loop)
        waiting: dict[str, In] = {}

        def submit() -> None:
            room = AHEAD * max(1, sum(client.nthreads().values())) - len(waiting)
            for value in itertools.islice(rest, max(room, 0)):
                future = client.submit(function, value, pure=False)
                waiting[future.key] = value
                done.add(future)

        try:
            submit()
            for future in done:
                value = waiting.pop(future.key)
                try:
                    result = future.result()
                except KilledWorker:
                    result = None
                del future  # the scheduler may forget it
                yield value, result
                submit()
        except (CancelledError, TimeoutError, ConnectionError):
            raise EngineError(f"the Dask scheduler {address or ''} is gone: start it, then run this again") from None


@contextlib.contextmanager
def _connect(address: str | None, workers: int | None) -> Iterator[Any]:
    """A client of the cluster."""
    import dask
    from distributed import Client, LocalCluster

    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is raised
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # such as of versions that differ, with a table
        stack.enter_context(dask.config.set({"distributed.admin.low-level-log-length": MESSAGES}))
        cluster = address
        if address is None:
            how: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": logging.CRITICAL}
            count = (os.cpu_count() or 1) if workers is None else workers
            if count:
                how["preload"] = [__name__]
            cluster = stack.enter_context(LocalCluster(n_workers=count or 1, processes=count > 0, **how))
        yield stack.enter_context(Client(cluster, timeout=ANSWERS, set_as_default=False))


def dask_setup(worker: Any) -> None:
    """Called in each process of a cluster that is started here: it leaves Ctrl-C to the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
