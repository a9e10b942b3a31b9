"""What the tests of data sets share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from musicgen.data_prep import files


class Killed(BaseException):
    """Nothing catches this one on its way out, as nothing catches a kill."""


@pytest.fixture
def killed_at_write(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], AbstractContextManager[None]]:
    """`with killed_at_write(n):` kills what runs inside at its write number n, from 0, half of which is done."""

    @contextlib.contextmanager
    def killed(last: int) -> Iterator[None]:
        whole, writes = files.write_atomically, 0

        def write(path: Path, data: bytes | Iterable[bytes]) -> None:
            nonlocal writes
            data = data if isinstance(data, bytes) else b"".join(data)
            if writes == last:
                path.with_name(f"{path.name}.1.tmp").write_bytes(data[: len(data) // 2])
                raise Killed
            writes += 1
            whole(path, data)

        with monkeypatch.context() as patch:
            patch.setattr(files, "write_atomically", write)
            with pytest.raises(Killed):
                yield

    return killed
