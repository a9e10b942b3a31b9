#!/bin/sh
# maestro-piano, the default weights of earlier versions, from MAESTRO's archive to released weights.
#
#   runs/maestro.sh         everything goes into run/; started again, it goes on where it stopped
#   TOY=1 runs/maestro.sh   the same way with a toy, in a minute on a CPU
#
# Hardware   one NVIDIA H200
# Time       prep 1 minute (two cores), training 13 minutes (14,000 steps of 47 ms)
# Expected   nats a token, validation and test: 1.753 and 1.684 at N = 4,096, 1.722 and 1.646 at N = 16,384
# Recorded   checkpoints/LOG.md, sections 8 and 9

. "$(dirname "$0")/archive.sh"
preset=release context=16384
[ -z "${TOY:-}" ] || preset=toy context=128

musicgen prep --midi-dir "$maestro" --csv "$csv" --out "$run/shards"
musicgen train --preset "$preset" --data "$run/shards" --out "$run/piano" --workers "${WORKERS:-8}"
musicgen evaluate --data "$run/shards" --split validation --checkpoint "$run/piano/weights" --context "$context"
musicgen evaluate --data "$run/shards" --split test --checkpoint "$run/piano/weights" --context "$context"

# What the weights were trained on, so that generated music can be compared with it.
musicgen evaluate --build-index "$run/shards" --csv "$csv" --out "$run/piano/weights/memorisation.npz"
echo "released weights: $run/piano/weights"
