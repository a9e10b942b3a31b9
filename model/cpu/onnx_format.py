"""Just enough of the ONNX file format to hand a graph to ONNX Runtime: protocol buffers, written by hand.

    graph = Graph("name")
    x = graph.input("x", np.float32, ("B", 640))
    (y,) = graph.node("MatMul", [x, graph.constant(kernel)])
    graph.output("y", y)
    graph.to_bytes()

The `onnx` package would do the same for another 20 MB to install and half a second of import at each start.  The
numbers below are the fields of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

IR_VERSION = 10
OPSET, CONTRIB_OPSET = 21, 1
CONTRIB = "com.microsoft"  # ONNX Runtime's own operators
TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7}

Attribute = int | float | str | Sequence[int]


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers are written as 64-bit two's complement
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _piece(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return b"".join((_varint(field << 3 | 2), _varint(len(data)), data))


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        body = _varint(2 << 3 | 5) + struct.pack("<f", value) + _number(20, 1)
    elif isinstance(value, int):
        body = _number(3, value) + _number(20, 2)
    elif isinstance(value, str):
        body = _piece(4, value) + _number(20, 3)
    else:
        body = b"".join(_number(8, item) for item in value) + _number(20, 7)
    return _piece(1, name) + body


def _value(name: str, dtype: type, shape: Sequence[int | str]) -> bytes:
    """A ValueInfoProto; a letter in the shape is a size that is only known when the graph runs."""
    sizes = (_number(1, size) if isinstance(size, int) else _piece(2, size) for size in shape)
    tensor = _number(1, TYPES[np.dtype(dtype).name]) + _piece(2, b"".join(_piece(1, size) for size in sizes))
    return _piece(1, name) + _piece(2, _piece(1, tensor))


class Graph:
    """A graph under construction; values are known by their names.  given: tensors that are no part of its bytes."""

    def __init__(self, name: str):
        self._name = name
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []
        self._named = 0
        self.given: dict[str, np.ndarray] = {}

    def fresh(self) -> str:
        """A name that no value has yet."""
        self._named += 1
        return f"v{self._named}"

    def input(self, name: str, dtype: type, shape: Sequence[int | str]) -> str:
        """A value that is given when the graph runs."""
        self._inputs.append(_value(name, dtype, shape))
        return name

    def output(self, name: str, value: str, dtype: type, shape: Sequence[int | str]) -> None:
        """A value that is handed back, under a name of its own."""
        self._nodes.append(_piece(1, value) + _piece(2, name) + _piece(4, "Identity"))
        self.result(name, dtype, shape)

    def result(self, name: str, dtype: type, shape: Sequence[int | str]) -> None:
        """A node's output, which already has the name under which it is handed back."""
        self._outputs.append(_value(name, dtype, shape))

    def constant(self, array: np.ndarray) -> str:
        """A tensor that is part of the graph."""
        name = self.fresh()
        array = np.ascontiguousarray(array)
        dims = b"".join(_number(1, size) for size in array.shape)
        body = dims + _number(2, TYPES[array.dtype.name]) + _piece(8, name)
        self._constants.append(b"".join((body, _piece(9, array.tobytes()))))
        return name

    def shared(self, name: str, array: np.ndarray) -> str:
        """A tensor that is given when the graph is loaded, under this name: no copy of it is part of the graph."""
        if name not in self.given:
            self.given[name] = array
            dims = b"".join(_number(1, size) for size in array.shape)
            elsewhere = _piece(13, _piece(1, "location") + _piece(2, "given")) + _number(14, 1)
            self._constants.append(dims + _number(2, TYPES[array.dtype.name]) + _piece(8, name) + elsewhere)
        return name

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: int | Sequence[str] = 1,
        *,
        domain: str = "",
        **attributes: Attribute,
    ) -> list[str]:
        """Apply an operator ("" for an input or output that is left out); its outputs' names."""
        names = [self.fresh() for _ in range(outputs)] if isinstance(outputs, int) else list(outputs)
        body = [_piece(1, name) for name in inputs] + [_piece(2, name) for name in names]
        body += [_piece(3, f"{operator} {len(self._nodes)}"), _piece(4, operator), _piece(7, domain)]
        body += [_piece(5, _attribute(name, value)) for name, value in attributes.items()]
        self._nodes.append(b"".join(body))
        return names

    def to_bytes(self) -> bytes:
        """The ModelProto."""
        fields = ((1, self._nodes), (5, self._constants), (11, self._inputs), (12, self._outputs))
        parts = [_piece(2, self._name), *(_piece(field, item) for field, items in fields for item in items)]
        opsets = (_piece(8, _piece(1, name) + _number(2, n)) for name, n in (("", OPSET), (CONTRIB, CONTRIB_OPSET)))
        return b"".join((_number(1, IR_VERSION), _piece(7, b"".join(parts)), *opsets))
