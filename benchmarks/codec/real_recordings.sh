#!/bin/sh
# Recordings of a real piano to measure a codec on: Bach by Kimiko Ishizaka on a Bösendorfer, 24.8 minutes, CC0.
#
#   git clone https://github.com/Vale717171/archive-of-oblivion CLONE
#   benchmarks/codec/real_recordings.sh CLONE DIR                                 # takes 12 of them out, 32 MB
#   python benchmarks/codec/evaluate.py DIR OUT --codec CODEC --kbps 6 12 --others Opus --excerpts 48
#
# From the Open Well-Tempered Clavier and the Open Goldberg Variations, as that repository carries them in Ogg Vorbis
# (96 kHz; the aria 44.1 kHz, by way of MP3).  Its assets/audio/ATTRIBUTION.md says which file is which, and whose.

set -eu
clone=$1 out=$2
commit=1d2afafb82aab5972b99b7a6117fe93bd674fc87
mkdir -p "$out"

while read -r file name; do
    git -C "$clone" show "$commit:assets/audio/$file.ogg" > "$out/$name.ogg"
done <<END
bach_bwv846_soglia wtc1-prelude-01
bach_contrapunctus_observatory wtc1-fugue-01
bach_bwv1008_laboratorio wtc1-prelude-02
observatory_calibration_variation wtc1-prelude-03
observatory_dome_variation wtc1-fugue-03
gallery_dark_variation wtc1-fugue-04
garden_fountain_variation wtc1-prelude-05
garden_stelae_variation wtc1-fugue-06
gallery_mirror_variation wtc1-fugue-07
lab_bain_marie_variation wtc1-prelude-10
lab_sealed_variation wtc1-fugue-10
bach_aria_goldberg goldberg-aria-da-capo
END
