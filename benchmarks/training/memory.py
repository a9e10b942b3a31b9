"""What one device holds of a training run that is spread over several: python benchmarks/training/memory.py

A step is compiled, for fake devices of this CPU, and not run; XLA tells how much memory it takes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path

MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="large")
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--rows", type=int, default=128, help="over all devices")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("memory.jsonl"))
    arguments = parser.parse_args()
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={arguments.devices}"
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import jax.numpy as jnp

    from musicgen.app.recipes import RECIPES
    from musicgen.model import parameters
    from musicgen.model.sharding import make_mesh, of_rows
    from musicgen.model.training import train

    for axis in (1, arguments.devices):
        config = dataclasses.replace(
            RECIPES[arguments.preset].train, model_axis=axis, batch=arguments.rows, compute="float32"
        )
        mesh = make_mesh(axis)

        def make(config: train.TrainConfig = config) -> train.TrainState:
            params = parameters.initial(config.model, 0)
            return train.TrainState(jnp.zeros((), jnp.int32), params, train.update_rule(config).init(params))

        state = jax.eval_shape(make)
        laid = jax.tree.map(
            lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where),
            state,
            train.layout_of(state, mesh),
        )
        size = (1, config.batch, config.model.context + 1)
        rows = jax.ShapeDtypeStruct(size, jnp.int16, sharding=of_rows(mesh))
        memory = train.make_train_steps(config).lower(laid, rows).compile().memory_analysis()
        record = {
            "preset": arguments.preset,
            "devices": arguments.devices,
            "model_axis": axis,
            "rows": config.batch,
            "jax": jax.__version__,
            "state_mib_of_all": round(sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) / MIB),
            "state_mib_of_one": round(memory.output_size_in_bytes / MIB),
            "step_mib_of_one": round(memory.temp_size_in_bytes / MIB),
        }
        print(json.dumps(record), flush=True)
        with arguments.out.open("a") as file:
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
