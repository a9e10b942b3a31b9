"""Checkpoints of a running training, by Orbax: parameters, optimiser, step, and where the reader stands."""

from __future__ import annotations

import base64
import json
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
        self.manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def save(self, step: int, state: Any, reader: Any) -> None:
        """Save in the background; a half-written checkpoint is never taken for one."""
        self.manager.save(
            step,
            args=ocp.args.Composite(state=ocp.args.StandardSave(state), reader=ocp.args.JsonSave(_to_json(reader))),
            force=True,
        )

    def restore(self, fresh: State) -> tuple[State, Any]:
        """The newest checkpoint laid out like `fresh`, and the reader's state; or `fresh` and None."""
        step = self.manager.latest_step()
        if step is None:
            return fresh, None
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, fresh)
        saved = self.manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract), reader=ocp.args.JsonRestore())
        )
        return saved.state, _from_json(saved.reader)

    def close(self) -> None:
        """Wait for the last save."""
        self.manager.wait_until_finished()
        self.manager.close()


def refuse_another_run(folder: Path, name: str, config: Shape) -> None:
    """Raise ValueError if the checkpoints in a run's folder are of a model or a codec, by `name`, of another shape."""
    settings = folder / "config.json"
    if not settings.is_file() or next((folder / "checkpoints").glob("[0-9]*"), None) is None:
        return
    theirs, ours = type(config).from_dict(json.loads(settings.read_text())[name]).to_dict(), config.to_dict()
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
