# Sourced by the other scripts: puts MAESTRO's MIDI into $run/maestro.
#
#   RUN=DIR   where everything goes (run)
#   TOY=1     instead of the archive the three primes that come with musicgen, one a split: the same way in a minute

set -eu
cd "$(dirname "$0")/.."
run=${RUN:-run}
maestro=$run/maestro
csv=$maestro/maestro-v3.0.0.csv
url=https://storage.googleapis.com/magentadata/datasets/maestro/v3.0.0/maestro-v3.0.0-midi.zip

if [ -n "${TOY:-}" ]; then
    mkdir -p "$maestro"
    cp app/primes/bach.mid app/primes/beethoven.mid app/primes/satie.mid "$maestro"
    cat > "$csv" <<END
split,midi_filename,audio_filename,duration,canonical_composer,canonical_title
train,bach.mid,bach.wav,30,Bach,Prelude
validation,beethoven.mid,beethoven.wav,30,Beethoven,Sonata
test,satie.mid,satie.wav,30,Satie,Gymnopedie
END
elif [ ! -f "$csv" ]; then
    mkdir -p "$run"
    curl --fail --location --continue-at - --output "$run/maestro.zip" "$url"
    python -m zipfile -e "$run/maestro.zip" "$run"
    mv "$run/maestro-v3.0.0" "$maestro"
fi
