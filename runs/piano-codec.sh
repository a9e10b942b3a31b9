#!/bin/sh
# The codec `piano`, from MAESTRO's archive to released weights.
#
#   runs/piano-codec.sh         everything goes into run/; started again, it goes on where it stopped
#   TOY=1 runs/piano-codec.sh   the same way with a toy, in a minute on a CPU
#
# Hardware   one NVIDIA H200; rendering takes a core of an AMD EPYC an hour for 200 hours of music
# Time       training 18 minutes: the recipe is by the clock, `--steps 48000` makes it by the step
# Expected   on pianos that were never heard, at 6 kbps: mel distance under 1.0, SI-SDR over 8 dB (not run yet)
# Recorded   checkpoints/codecs/piano/CARD.md, a run on renders of two soundfonts (commit 2e7898a); benchmarks/codec
#
# MAESTRO's own recordings take the place of the renders: --audio-dir maestro-v3.0.0 --csv maestro-v3.0.0.csv

. "$(dirname "$0")/archive.sh"
preset=piano-codec excerpts=144
[ -z "${TOY:-}" ] || preset=toy-codec excerpts=1

RUN=$run sh runs/pianos.sh
python runs/render_maestro.py "$maestro" "$run/renders" --pianos "$run/pianos" --held-out splendid \
    --train-hours 40 --held-out-hours 3.5
musicgen prep --audio-dir "$run/renders" --csv "$run/renders/renders.csv" --out "$run/recordings"
musicgen train --preset "$preset" --data "$run/recordings" --out "$run/codec"
python benchmarks/codec/evaluate.py "$run/recordings" "$run/codec/result" --codec "$run/codec/weights" \
    --kbps 6 --others Opus --excerpts "$excerpts"
# A real piano, if benchmarks/codec/real_recordings.sh has put it there.
if [ -d "$run/real" ]; then
    python benchmarks/codec/evaluate.py "$run/real" "$run/codec/real" --codec "$run/codec/weights" \
        --kbps 6 12 --others Opus --excerpts 48
fi
echo "released codec: $run/codec/weights"
