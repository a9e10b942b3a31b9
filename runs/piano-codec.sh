#!/bin/sh
# The codec `piano`, from MAESTRO's archive to released weights.
#
#   runs/piano-codec.sh         everything goes into run/; started again, it goes on where it stopped
#   TOY=1 runs/piano-codec.sh   the same way with a toy, in a minute on a CPU
#
# Hardware   one NVIDIA H200; rendering takes a core of an AMD EPYC an hour for 42 hours of music
# Time       training 11 minutes: the recipe is by the clock, `--steps 28500` makes it by the step
# Expected   at 6 kbps on test: mel distance 1.20, SI-SDR 9.9 dB; on the run's own validation pieces 1.10 and 10.4 dB
# Recorded   checkpoints/codecs/piano/CARD.md; benchmarks/codec
#
# MAESTRO's own recordings take the place of the renders: --audio-dir maestro-v3.0.0 --csv maestro-v3.0.0.csv

. "$(dirname "$0")/archive.sh"
preset=piano-codec excerpts=144
[ -z "${TOY:-}" ] || preset=toy-codec excerpts=1

python runs/render_maestro.py "$maestro" "$run/renders" --train-hours 26 --held-out-hours 3.5
musicgen prep --audio-dir "$run/renders" --csv "$run/renders/renders.csv" --out "$run/recordings"
musicgen train --preset "$preset" --data "$run/recordings" --out "$run/codec"
python benchmarks/codec/evaluate.py "$run/recordings" "$run/codec/result" --codec "$run/codec/weights" \
    --kbps 6 --others --excerpts "$excerpts"
echo "released codec: $run/codec/weights"
