#!/bin/sh
# maestro-tiny, from MAESTRO's archive to released weights.
#
#   runs/maestro-tiny.sh         everything goes into run/; started again, it goes on where it stopped
#   TOY=1 runs/maestro-tiny.sh   the same way with a toy, in a minute on a CPU
#
# Hardware   one NVIDIA H200, which another run shared
# Time       prep 1 minute (two cores), training 4 minutes
# Expected   nats a token, validation and test: 1.933 and 1.860
# Recorded   checkpoints/maestro-tiny/CARD.md; checkpoints/LOG.md, section 8

. "$(dirname "$0")/archive.sh"
recipe="--preset tiny --steps 12000 --batch 32"
[ -z "${TOY:-}" ] || recipe="--preset toy"

musicgen prep --midi-dir "$maestro" --csv "$csv" --out "$run/shards"
# shellcheck disable=SC2086  # the recipe is several words
musicgen train $recipe --data "$run/shards" --out "$run/tiny" --workers "${WORKERS:-12}"
musicgen evaluate --data "$run/shards" --split validation --checkpoint "$run/tiny/weights"
musicgen evaluate --data "$run/shards" --split test --checkpoint "$run/tiny/weights"
echo "released weights: $run/tiny/weights"
