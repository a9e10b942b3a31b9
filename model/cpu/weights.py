"""The matrices of a checkpoint as a CPU reads them: a row of bytes for each output, the very numbers that are stored.

`CpuWeights` hands them to ONNX Runtime's operators, for passes, and `StackedWeights` also to model/cpu/step.py, for
steps: both read the same memory.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from musicgen.model.config import ModelConfig
from musicgen.model.cpu.memory import KINDS
from musicgen.model.cpu.memory import Weights as StepWeights
from musicgen.model.int4 import GROUP
from musicgen.model.storage import SCALE, Weights, bits_of, dequantize, shape_of

EPSILON = 1e-6  # of rms_norm
BLOCKS = tuple(f"{kind}." for kind in KINDS)  # how the names of their weights begin


def local_names(config: ModelConfig) -> list[str]:
    """The blocks over the inputs."""
    return [f"local.{i}" for i in range(config.local_layers)]


def decode_names(config: ModelConfig) -> list[str]:
    """Cross-attend and self-attend blocks in the order of the forward pass."""
    return [
        name
        for layer in range(config.layers)
        for name in (*(f"cross.{i}" for i in config.crosses_before(layer)), f"layers.{layer}")
    ]


def select(weights: Weights, *prefixes: str) -> dict[str, np.ndarray]:
    """The weights whose names begin so."""
    return {name: values for name, values in weights.items() if name.startswith(prefixes)}


def rename(weights: Weights, old: str, new: str) -> dict[str, np.ndarray]:
    """The same weights, whose names all begin with `old`, under names that begin with `new`."""
    return {new + name.removeprefix(old): values for name, values in weights.items()}


def embeddings(weights: Weights) -> np.ndarray:
    """f32 [V, D]: the rows of the table, normalised once."""
    table = weights["embedding"].astype(np.float32)
    return table / np.sqrt((table * table).mean(axis=-1, keepdims=True) + EPSILON)


class CpuWeights:
    """Matrices as `MatMulNBits` wants them, made once for all graphs."""

    def __init__(self, weights: Weights):
        self.weights = dict(weights)
        self._for_matmul: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def bits(self, *names: str) -> int:
        """Of each weight in these matrices; 32 if they are not all of the same kind, or none is of whole numbers."""
        found = {bits_of(self.weights[f"{name}.kernel"]) for name in names}
        return found.pop() if found in ({4}, {8}) else 32

    def shape(self, *names: str) -> tuple[int, int]:
        """Inputs and outputs of these kernels side by side."""
        shapes = [shape_of(self.weights[f"{name}.kernel"]) for name in names]
        return shapes[0][0], sum(shape[1] for shape in shapes)

    def floats(self, *names: str) -> np.ndarray:
        """f32 [inputs, outputs]: the kernels of these names side by side."""
        kernels = (dequantize(select(self.weights, f"{name}.kernel"))[f"{name}.kernel"] for name in names)
        return np.concatenate(list(kernels), axis=-1)

    def rows(self, *names: str) -> tuple[np.ndarray, np.ndarray]:
        """Kernels one below the other and their scales.

        f32 [outputs, inputs] and ones [outputs]; or u8 [outputs, inputs], 128 for zero, of which 16, 32, 64 or 128
        divide a row, which zeros may end, and f32 [outputs]; or u8 [outputs, inputs/2] and f32 [outputs, groups], as
        model/int4.py has them.
        """
        bits = self.bits(*names)
        if bits == 32:
            kernel = np.ascontiguousarray(self.floats(*names).T)
            return kernel, np.ones(len(kernel), np.float32)
        kernel, scale = (
            np.concatenate([self.weights[f"{name}.kernel{what}"] for name in names], axis=0 if bits == 4 else -1)
            for what in ("", SCALE)
        )
        if bits == 8:
            inputs, outputs = kernel.shape
            padded = np.full((outputs, -(-inputs // 16) * 16), 128, np.uint8)
            np.bitwise_xor(kernel.T.view(np.uint8), 0x80, out=padded[:, :inputs])
            kernel = padded
        return kernel, scale.astype(np.float32)

    def for_matmul(self, *names: str) -> tuple[np.ndarray, np.ndarray]:
        """Kernels u8 [outputs, blocks, bytes of a block], 128 or 8 for zero, and their f32 scales [outputs, blocks]."""
        key = " ".join(names)
        if key not in self._for_matmul:
            kernel, scale = self.rows(*names)
            outputs, size = kernel.shape
            if self.bits(*names) == 8:
                block = next(n for n in (128, 64, 32, 16) if size % n == 0)
                scale = np.repeat(scale[:, None], size // block, axis=1)
            else:
                block = GROUP // 2
            self._for_matmul[key] = kernel.reshape(outputs, -1, block), scale
        return self._for_matmul[key]


class StackedWeights(CpuWeights):
    """The same, with the matrices of all blocks in one array for each kind: steps take them from there, too."""

    def __init__(self, weights: Weights, config: ModelConfig):
        super().__init__(weights)
        self.config = config
        self.blocks = [*local_names(config), *decode_names(config)]
        self.stacks: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for parts in (("query", "key", "value"), ("out",), ("up",), ("down",)):
            rows = (super(StackedWeights, self).rows(*(f"{block}.{part}" for part in parts)) for block in self.blocks)
            self.stacks[parts[0]] = _stack(rows, len(self.blocks))
            for name in [f"{block}.{part}" for block in self.blocks for part in parts]:
                kernel, _ = self.rows(name)
                if self.bits(name) == 4 and kernel.dtype == np.uint8:  # the very same numbers: one copy is enough
                    self.weights[f"{name}.kernel"] = kernel

    def rows(self, *names: str) -> tuple[np.ndarray, np.ndarray]:
        """See CpuWeights; matrices of one block."""
        block, _, part = names[0].rpartition(".")
        if block not in self.blocks:
            return super().rows(*names)
        c = self.config
        q, kv = c.heads * c.head_size, c.kv_heads * c.head_size
        within = {"query": 0, "key": q, "value": q + kv}
        first = within.get(part, 0)
        _, count = self.shape(*names)
        kernel, scale = self.stacks["query" if part in within else part]
        at = self.blocks.index(block)
        return kernel[at, first : first + count], scale[at, first : first + count]

    def for_steps(self) -> StepWeights:
        """What a step reads."""
        kinds = [(KINDS.index(kind), int(which)) for kind, which in (block.split(".") for block in self.blocks)]
        scales = [[self.weights[f"{block}.{part}_scale"] for part in ("query", "key")] for block in self.blocks]
        matrices = [array for stack in (*self.stacks.values(), self.rows("output")) for array in stack]
        return StepWeights._make([np.array(kinds), *matrices[:2], np.array(scales, np.float32), *matrices[2:]])


def _stack(pairs: Iterable[tuple[np.ndarray, np.ndarray]], count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` kernels, all of one shape, in one array, and their scales."""
    kernels, scales = np.zeros(0), np.zeros(0)
    for at, (kernel, scale) in enumerate(pairs):
        if at == 0:
            kernels, scales = (np.empty((count, *one.shape), one.dtype) for one in (kernel, scale))
        kernels[at], scales[at] = kernel, scale
    return kernels, scales
