"""How much arithmetic a training step is, so that its speed can be stated as a share of what the chip can do (MFU)."""

from __future__ import annotations

from musicgen.model.config import ModelConfig
from musicgen.model.training.multi_context import MultiContext


def matrix_parameters(config: ModelConfig) -> tuple[int, int, int, int]:
    """Weights of a block's query and output, of its key and value, of its MLP, and of the logits."""
    D, kv = config.width, config.kv_heads * config.head_size
    return 2 * D * D, 2 * D * kv, 2 * config.widening * D * D, D * config.vocab_size


def forward_flops(config: ModelConfig, contexts: MultiContext, rows: int, keep: float) -> float:
    """Of one forward pass over `rows` rows; a multiply-add is two, the masked half of causal attention none."""
    N, M, D = contexts.N, contexts.M, config.width
    qo, kv, mlp, logits = matrix_parameters(config)
    per_row = config.local_layers * N * (2 * (qo + kv + mlp) + 4 * D * config.local_window)
    per_row += config.cross_attends * 2 * (M * (qo + mlp) + N * kv) + M * 2 * logits
    per_row += config.layers * M * 2 * (qo + kv + mlp)
    attention = 0.0
    for part in contexts.slices:
        prefix = int((part.context - part.latents) * (keep if part.keep is None else part.keep))
        cross = config.cross_attends * 4 * D * M * (prefix + part.latents / 2)
        own = config.layers * 4 * D * M * part.segment / 2
        attention += part.rows / contexts.rows * (cross + own)
    return rows * (per_row + attention)
