"""A function over many inputs as a pipeline of Apache Beam (the `beam` extra)."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import shutil
import socket
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from musicgen.data_prep.errors import EngineError, PrepError

In = TypeVar("In")
ANSWERS = 4.0  # seconds in which an endpoint has to take a connection, and a server of jars to begin to send
LONGEST = 300  # letters of an error of Beam's
DRIVER = re.compile(r"org/apache/beam/runners/.*JobServerDriver\.class")  # what a job server's jar runs


def check(runner: str, options: Sequence[str]) -> None:
    """Raise PrepError if Beam refuses the options; EngineError if an endpoint among them is dead, or Flink or Spark
    lacks the job server through which it takes pipelines in Python.

    runner: Beam's own name for it.
    """
    from apache_beam.options.pipeline_options import FlinkRunnerOptions, PortableOptions, SparkRunnerOptions

    with quiet():
        parsed = _options(runner, options)
        _pipeline(parsed)
    given = parsed.get_all_options()
    job_endpoint = parsed.view_as(PortableOptions).job_endpoint
    masters = {"FlinkRunner": "flink_master", "SparkRunner": "spark_master_url"}
    for option in filter(None, ("job_endpoint", masters.get(runner))):
        _connect(f"--{option}", str(given.get(option) or ""))
    if job_endpoint:
        _speak(job_endpoint)
    if runner not in masters or job_endpoint:
        return
    if runner == "FlinkRunner":
        from apache_beam.runners.portability.flink_runner import FlinkJarJobServer

        _find_jar("Flink", "flink_job_server_jar", FlinkJarJobServer(parsed.view_as(FlinkRunnerOptions)))
    else:
        from apache_beam.runners.portability.spark_runner import SparkJarJobServer

        _find_jar("Spark", "spark_job_server_jar", SparkJarJobServer(parsed.view_as(SparkRunnerOptions)))


def run(inputs: Sequence[In], function: Callable[[In], Any], runner: str, options: Sequence[str]) -> None:
    """Call the function for every input on a runner, by Beam's own name for it; what it returns is dropped.

    options: Beam's command line options. Raises PrepError if Beam refuses them, EngineError if the runner breaks down.
    """
    import apache_beam

    with quiet():
        pipeline = _pipeline(_options(runner, options))
        elements = pipeline | "shards" >> apache_beam.Create(list(inputs)) | apache_beam.Reshuffle()
        _ = elements | "make" >> apache_beam.Map(function)
        try:
            pipeline.run().wait_until_finish()
        except RuntimeError as error:
            raise EngineError(f"Apache Beam's {runner} broke down: {' '.join(str(error).split())[:LONGEST]}") from None


def _pipeline(options: Any) -> Any:
    """An empty pipeline.  Raises PrepError for an unknown runner, or options that it refuses."""
    import apache_beam

    try:
        return apache_beam.Pipeline(options=options)
    except ValueError as error:
        raise PrepError(f"Apache Beam: {error}") from None


def _options(runner: str, options: Sequence[str]) -> Any:
    """What Beam makes of them.  Raises PrepError."""
    from apache_beam.options.pipeline_options import PipelineOptions

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed = PipelineOptions([f"--runner={runner}", *options])
            parsed.get_all_options()  # reads them
    except SystemExit:  # of argparse, whose last line says why
        refused = said.getvalue().strip().rpartition("error: ")[2]
        raise PrepError(f"Apache Beam refuses --runner-option: {refused}") from None
    return parsed


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Beam's warnings: what matters is raised."""
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _connect(option: str, address: str) -> None:
    """Raise EngineError if this names a host and a port at which nothing answers."""
    try:
        url = urlsplit(address if "//" in address else f"//{address}")
        host, port = url.hostname, url.port
    except ValueError:  # [local]
        return
    if not host or port is None:  # embedded, or none
        return
    try:
        socket.create_connection((host, port), ANSWERS).close()
    except OSError as error:
        why = error.strerror or error
        raise EngineError(f"nothing answers at {address} ({why}): start it, or give {option} another address") from None


def _speak(endpoint: str) -> None:
    """Raise EngineError if what has taken a connection there is no job server: Beam would wait for ever."""
    import grpc

    try:
        with grpc.insecure_channel(endpoint) as channel:
            grpc.channel_ready_future(channel).result(ANSWERS)
    except grpc.FutureTimeoutError:
        raise EngineError(
            f"what answers at {endpoint} is no job server of Apache Beam: give --job_endpoint another address"
        ) from None


def _find_jar(name: str, option: str, server: Any) -> None:
    """Raise EngineError if the job server's jar is neither here nor to be had, or there is no Java to run it."""
    try:
        jar = server.path_to_jar()
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(ANSWERS)
        try:
            with quiet():
                found = server.local_jar(jar, server._jar_cache_dir)
        finally:
            socket.setdefaulttimeout(before)
        with zipfile.ZipFile(found) as archive:
            if not any(DRIVER.fullmatch(member) for member in archive.namelist()):
                raise ValueError
    except (ValueError, IsADirectoryError, zipfile.BadZipFile):  # if nothing is there, three lines on how to build it
        raise PrepError(
            f"{server._jar or jar} is no job server of {name}'s: give the path of one, a .jar of Apache Beam, with"
            f" --runner-option=--{option}=FILE, or leave that out to see which one is wanted"
        ) from None
    except (RuntimeError, OSError):
        folder = server._jar_cache_dir or os.path.join("~", ".apache_beam", "cache", "jars")
        raise EngineError(
            f"{name} takes Python pipelines through Beam's job server, which is neither here nor to be had from"
            f" {jar}: put {os.path.basename(jar)} into {folder}, or name it with --runner-option=--{option}=FILE"
        ) from None
    if shutil.which(server._java_launcher) is None:
        raise EngineError(
            f"{name} takes Python pipelines through a job server in Java, and java is missing: install it"
        )
