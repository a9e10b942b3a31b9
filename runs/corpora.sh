# Sourced by the scripts of six corpora: packs them into $run.
#
#   CORPORA=DIR   holds maestro-v3.0.0, pijama, supra, asap, emopia and pop909, each with its csv
#   RUN=DIR       where everything goes (run)
#   TOY=1         instead of the corpora the three primes that come with musicgen, one a split

set -eu
cd "$(dirname "$0")/.."
run=${RUN:-run}
if [ -n "${TOY:-}" ]; then
    CORPORA=$run/corpora
    for name in maestro-v3.0.0 pijama supra asap emopia pop909; do
        mkdir -p "$CORPORA/$name"
        for prime in bach beethoven satie; do cp "app/primes/$prime.mid" "$CORPORA/$name/Q1_$prime.mid"; done
        cat > "$CORPORA/$name/$name.csv" <<END
split,midi_filename,canonical_composer,canonical_title
train,Q1_bach.mid,Bach,Prelude
validation,Q1_beethoven.mid,Beethoven,Sonata
test,Q1_satie.mid,Satie,Gymnopedie
END
    done
fi
python runs/piano/pack.py "$CORPORA" --out "$run"
