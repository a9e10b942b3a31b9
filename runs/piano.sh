#!/bin/sh
# piano, from six corpora of MIDI to released weights of four bits.
#
#   CORPORA=DIR runs/piano.sh   DIR holds maestro-v3.0.0, pijama, supra, asap, emopia and pop909, each with its csv
#   TOY=1 runs/piano.sh         the same way with a toy, in minutes on a CPU
#
# Hardware   two NVIDIA H200 of one machine, 20 processor cores
# Time       packing 2 minutes (two cores), training 24.5 minutes (14,992 steps of 94 ms)
# Expected   nats a token, test, N = 4,096: MAESTRO 1.651 (1.624 at N = 16,384), PiJAMA 2.082, SUPRA 1.559, ASAP 1.614,
#            EMOPIA 1.855, POP909 1.155
# Recorded   checkpoints/LOG.md, section 16

. "$(dirname "$0")/corpora.sh"
options="--seconds 1470 --workers ${WORKERS:-22} --decay-from 0.45 --calm-from 0.7 --four-bits-from 0.88"
if [ -n "${TOY:-}" ]; then
    options="--toy --steps 8 --workers 1 --decay-from 0 --calm-from 0 --four-bits-from 0"
fi

# shellcheck disable=SC2086  # options are several
python runs/piano/leg.py --notes "$run/notes.bin" --validation "$run/validation.npz" --whole "$run" --out "$run/leg" \
    --scoring 0 $options
python runs/piano/release.py "$run/leg/four" --out "$run/piano"
cp "$run/training_files.txt" "$run/piano"

# What the weights were trained on, so that generated music can be compared with it.
python runs/piano/index.py "$CORPORA" --out "$run/piano/memorisation.npz"
echo "released weights: $run/piano"
