"""What every test shares: which of them `make quick` and `make test` leave out, and in which order they run."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Machines differ in speed and the first example of a test compiles: how long one may take is not Hypothesis's to say.
ANYWHERE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
# The same examples each time: a red run is then about the change.  `--hypothesis-profile=explore` tries new ones.
settings.register_profile("repeat", ANYWHERE, derandomize=True, database=None)
settings.register_profile("explore", ANYWHERE)
settings.load_profile("repeat")

sys.path.insert(0, str(Path(__file__).parent))
from namespaces import Hosts  # noqa: E402

# JAX 0.10 can compile for a processor as older versions did, in a third of the time; later ones do not know the flag.
# The workers of a run and the processes that tests start inherit it.
FLAG = "--xla_cpu_use_fusion_emitters=false"
if os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") and importlib.metadata.version("jax").startswith("0.10."):
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = flags if FLAG in flags else f"{flags} {FLAG}".strip()

SLOW_FOLDERS = {"training", "codec", "runs", "benchmarks"}  # whose tests train, or compile for most of a minute
SITES = {"browser", "site", "slow_site", "sound_site", "visit"}  # fixtures that start a browser or a server


def pytest_configure() -> None:
    """A job in a shell's background ignores Ctrl-C, and so does what it starts: tests send that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A folder none of whose tests will run is not even imported: that takes seconds."""
    left_out = config.option.markexpr.split(" and ")
    slow = collection_path.name in SLOW_FOLDERS and "not slow" in left_out
    takes = collection_path.name == "takes" and "not takes" in left_out
    return True if collection_path.is_dir() and (slow or takes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browsers, sites and training are slow as kinds, and takes are apart: no test has to say so.  Files say the rest.

    What is slow comes first: no worker is left alone with it in the end.
    """
    for item in items:
        if item.path.parent.name in SLOW_FOLDERS or SITES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
        if item.path.parent.name == "takes":
            item.add_marker(pytest.mark.takes)
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """Tracing makes many small objects that live: to look through all of them again and again takes a tenth of it."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture
def hosts() -> Iterator[Callable[[int], Hosts]]:
    """A function that makes a network of so many hosts; skips the test where there are no network namespaces."""
    made = Hosts()

    def build(count: int) -> Hosts:
        try:
            made.build(count)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network namespaces here: {getattr(error, 'stderr', None) or error}")
        return made

    yield build
    made.close()
