#!/bin/sh
# The model of sound `piano-codes`, from MAESTRO's archive to released weights.
#
#   runs/piano-codes.sh         everything goes into run/; started again, it goes on where it stopped
#   CODEC=run/codec/weights runs/piano-codes.sh   over another codec than the one that ships
#   TOY=1 runs/piano-codes.sh   the same way with a toy, in a minute on a CPU
#
# Hardware   one NVIDIA H200; rendering takes a core of an AMD EPYC an hour for 200 hours of music
# Time       training 15 minutes on recordings, then 18 minutes with scheduled sampling
# Expected   nats a code at N = 65,536 codes: test 2.886 after the first run; validation 2.819, test 2.837 after the second
# Recorded   checkpoints/piano-codes/CARD.md; checkpoints/LOG.md, sections 11 and 12; benchmarks/codes
#
# Those runs had 46 and 56 hours, rendered with two soundfonts (commit 2e7898a); no figures over the renders that are
# made here have been taken yet.

. "$(dirname "$0")/archive.sh"
first=piano-codes second=piano-codes-sampled context=65536
[ -z "${TOY:-}" ] || first=toy-codes second=toy-codes-sampled context=512

RUN=$run sh runs/pianos.sh
python runs/render_maestro.py "$maestro" "$run/renders" --pianos "$run/pianos" --held-out splendid \
    --train-hours 40 --held-out-hours 3.5
musicgen prep --audio-dir "$run/renders" --csv "$run/renders/renders.csv" --out "$run/recordings" --codec "${CODEC:-piano}"
musicgen train --preset "$first" --data "$run/recordings/codes" --out "$run/codes"
musicgen train --preset "$second" --start "$run/codes/weights" --data "$run/recordings/codes" --out "$run/codes-sampled"
python benchmarks/codes/evaluate.py "$run/recordings/codes" "$run/codes-sampled/weights" \
    "$run/codes-sampled/scores.jsonl" --contexts "$context" --splits validation,test
echo "released weights: $run/codes-sampled/weights"
