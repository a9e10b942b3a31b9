"""The made-up engine and the untrained model of sound that the tests of the app have."""

from __future__ import annotations

from ..app.conftest import fake, toy
from ..app.web.conftest import loud

__all__ = ["fake", "loud", "toy"]
