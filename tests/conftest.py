"""What every test shares: which of them `make quick` and `make test` leave out."""

from __future__ import annotations

import pytest

# Folders and files whose tests train, or compile models for most of a minute.
SLOW_FOLDERS = {"training", "codec", "runs", "benchmarks"}
SLOW_FILES = {
    "test_attention",
    "test_continuation",
    "test_decoding",
    "test_engine",
    "test_engine_of_frames",
    "test_frames",
    "test_library",
    "test_perceiver_ar",
    "test_sound_input",
    "test_train",
}
SITES = {"browser", "site", "slow_site", "sound_site", "visit"}  # fixtures that start a browser or a server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browsers, sites, training and compiling are slow as kinds, and takes are apart: no test has to say so."""
    for item in items:
        slow = item.path.parent.name in SLOW_FOLDERS or item.path.stem in SLOW_FILES
        if slow or SITES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
        if item.path.parent.name == "takes":
            item.add_marker(pytest.mark.takes)
