#!/bin/sh
# piano-tiny, from six corpora of MIDI to released weights of four bits.
#
#   CORPORA=DIR runs/piano-tiny.sh   DIR holds maestro-v3.0.0, pijama, supra, asap, emopia and pop909, each with its csv
#   TOY=1 runs/piano-tiny.sh         the same way with a toy, in minutes on a CPU
#
# Hardware   one NVIDIA H200, which other runs shared
# Time       packing 2 minutes (two cores), training 6.4 minutes (6,936 steps, which waited for five processes to draw rows)
# Expected   nats a token, test: MAESTRO 1.956, PiJAMA 2.349, SUPRA 1.955, ASAP 1.910, EMOPIA 2.184, POP909 1.899
# Recorded   checkpoints/LOG.md, section 17

. "$(dirname "$0")/corpora.sh"
options="--steps 6936 --seconds 3600 --workers ${WORKERS:-6} --decay-from 0.45 --four-bits-from 0.88"
if [ -n "${TOY:-}" ]; then
    options="--toy --steps 8 --workers 1 --decay-from 0 --four-bits-from 0"
fi

# shellcheck disable=SC2086  # options are several
python runs/piano/leg.py --preset piano-tiny --notes "$run/notes.bin" --validation "$run/validation.npz" --whole "$run" \
    --out "$run/leg" --scoring 0 $options
python runs/piano/release.py "$run/leg/four" --out "$run/piano-tiny"
cp "$run/training_files.txt" "$run/piano-tiny"
echo "released weights: $run/piano-tiny"
