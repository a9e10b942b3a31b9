"""Graphs as ONNX Runtime runs them."""

from __future__ import annotations

import onnxruntime

from musicgen.model.cpu.onnx_format import Graph

onnxruntime.set_default_logger_severity(3)  # no warnings about devices that are not there


def open_session(graph: Graph, threads: int | None) -> onnxruntime.InferenceSession:
    """What runs a graph, over weights that stay where they are; threads None: as many as there are cores."""
    options = onnxruntime.SessionOptions()
    given = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in graph.given.items()}
    options.add_external_initializers(list(given), list(given.values()))
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    # Between two operators a thread waits so long before it sleeps: for ever would take the cores from others.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "50")
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph.to_bytes(), options, providers=["CPUExecutionProvider"])
