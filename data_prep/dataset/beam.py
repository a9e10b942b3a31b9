"""A function over many inputs as a pipeline of Apache Beam (the `beam` extra)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from musicgen.data_prep.errors import PrepError

In = TypeVar("In")


def run(inputs: Sequence[In], function: Callable[[In], Any], runner: str, options: Sequence[str]) -> None:
    """Call the function for every input on a runner, by Beam's own name for it; what it returns is dropped.

    options: Beam's command line options. Raises PrepError if Beam refuses them, EngineError if the runner breaks down.
    """
    import apache_beam

    with _pipeline(runner, options) as pipeline:
        elements = pipeline | "shards" >> apache_beam.Create(list(inputs)) | apache_beam.Reshuffle()
        _ = elements | "make" >> apache_beam.Map(function)


def _pipeline(runner: str, options: Sequence[str]) -> Any:
    """An empty pipeline, which runs when it is left as a context."""
    import apache_beam
    from apache_beam.options.pipeline_options import PipelineOptions

    try:
        return apache_beam.Pipeline(options=PipelineOptions([f"--runner={runner}", *options]))
    except ValueError as error:  # an unknown runner, or options that it refuses
        raise PrepError(f"Apache Beam: {error}") from None
