"""What every test shares: which of them `make quick` and `make test` leave out."""

from __future__ import annotations

import pytest

SITES = {"browser", "site", "slow_site", "sound_site", "visit"}  # fixtures that start a browser or a server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browsers, sites and training runs are slow as kinds, and takes are apart: nobody has to remember the mark."""
    for item in items:
        if SITES.intersection(getattr(item, "fixturenames", ())) or item.path.parent.name == "training":
            item.add_marker(pytest.mark.slow)
        if item.path.parent.name == "takes":
            item.add_marker(pytest.mark.takes)
