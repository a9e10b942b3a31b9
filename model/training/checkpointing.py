"""Checkpoints of a running training, by Orbax: parameters, optimiser, step, and where the reader stands."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Protocol, TypeVar

import jax
import orbax.checkpoint as ocp

State = TypeVar("State")


class Shape(Protocol):
    """The config of a model or a codec."""

    def to_dict(self) -> dict[str, Any]: ...

    @classmethod
    def from_dict(cls, values: dict[str, Any], /) -> Any: ...


class Checkpoints:
    """The newest `keep` checkpoints of a folder."""

    def __init__(self, folder: Path, keep: int = 2):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True)
        self.folder = folder.absolute()
        self.manager = ocp.CheckpointManager(self.folder, options=options)

    def save(self, step: int, state: Any, reader: Any) -> None:
        """Save in the background; a half-written checkpoint is never taken for one."""
        self.manager.save(
            step,
            args=ocp.args.Composite(state=ocp.args.StandardSave(state), reader=ocp.args.JsonSave(_to_json(reader))),
            force=True,
        )

    def restore(self, fresh: State) -> tuple[State, Any]:
        """The newest whole checkpoint laid out like `fresh`, and the reader's state; or `fresh` and None.

        A damaged one is put aside under another name.  Raises ValueError if all are damaged.
        """
        steps = sorted(self.manager.all_steps(), reverse=True)
        for step in steps:
            try:
                return self._restore(step, fresh)
            except Exception as error:  # whatever Orbax says of files that are torn or missing
                if jax.process_count() > 1:
                    raise
                self._put_aside(step, " ".join(f"{type(error).__name__}: {error}".split())[:200])
        if steps:
            raise ValueError(f"{self.folder} holds no checkpoint that can be read: begin anew in another folder")
        return fresh, None

    def _restore(self, step: int, fresh: State) -> tuple[State, Any]:
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, fresh)
        saved = self.manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract), reader=ocp.args.JsonRestore())
        )
        return saved.state, _from_json(saved.reader)

    def _put_aside(self, step: int, why: str) -> None:
        damaged = self.folder / f"damaged-{step}"
        shutil.rmtree(damaged, ignore_errors=True)
        (self.folder / str(step)).rename(damaged)
        self.manager.reload()
        print(f"musicgen: the checkpoint of step {step} is damaged ({why}): {damaged} now", file=sys.stderr)

    def wait(self) -> None:
        """Until the last save is on the disk."""
        self.manager.wait_until_finished()

    def close(self) -> None:
        """Wait for the last save."""
        self.wait()
        self.manager.close()


def write_settings(folder: Path, config: Any) -> None:
    """The settings of a run, a dataclass, as config.json in its folder: whole, or as it was."""
    beside = folder / "config.json.tmp"
    with beside.open("w") as file:
        file.write(json.dumps(dataclasses.asdict(config), indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(folder / "config.json")


def refuse_another_run(folder: Path, name: str, config: Shape) -> None:
    """Raise ValueError if the checkpoints in a run's folder are of a model or a codec, by `name`, of another shape."""
    settings = folder / "config.json"
    if not settings.is_file() or next((folder / "checkpoints").glob("[0-9]*"), None) is None:
        return
    try:
        theirs, ours = type(config).from_dict(json.loads(settings.read_text())[name]).to_dict(), config.to_dict()
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{settings} is damaged ({error}): remove it if the run is one of these settings") from None
    differ = [f"{key} {theirs[key]}, not {ours[key]}" for key in ours if theirs[key] != ours[key]]
    if differ:
        raise ValueError(f"{folder} holds a run of another {name} ({', '.join(differ)}): choose another folder")


def _to_json(reader: Any) -> dict[str, Any]:
    """Grain's iterators give dictionaries or bytes."""
    if isinstance(reader, bytes):
        return {"bytes": base64.b64encode(reader).decode()}
    return {"state": json.loads(json.dumps(reader))}


def _from_json(saved: dict[str, Any]) -> Any:
    return base64.b64decode(saved["bytes"]) if "bytes" in saved else saved["state"]
