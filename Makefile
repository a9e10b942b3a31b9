# make demo | test | quick | nightly | takes | fuzz | kills | lint | fix | docs | constraints | clean
#   PYTHON=python3.11   the interpreter for a new environment (default: the first of 3.12, 3.11, 3 and 3.13 that will do)
#   VENV=.venv          where the environment lives
#   PRIME=song.mid      what `make demo` continues
#   JOBS=3              test processes: of two cores, one would often wait
#   SECONDS=3600        how long `make fuzz` takes; READERS="audio codes" chooses
#   TESTS=tests/app     a part of the tests; ARGS="-k name -x" goes to pytest
SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:
.DELETE_ON_ERROR:
# Without compiled modules every process that a test starts would compile all that it imports: most of their time.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

VENV ?= .venv
PYTHON ?=
JOBS ?= 3
TESTS ?= tests
ARGS ?=
SECONDS ?= 3600
READERS ?=
PRIME ?= $(firstword $(sort $(wildcard app/primes/*.mid)))
PACKAGES := app checkpoints data_prep model musicgen
BIN := $(VENV)/bin
# Most modules are never imported, and what is imported is compiled then.
PIP := $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt

.PHONY: help demo test quick nightly takes fuzz kills lint fix docs constraints clean

help:
	@echo "make demo          an environment, then demo.mid and demo.wav from a bundled opening"
	@echo "make test          an environment, then all tests but the nightly ones"
	@echo "make quick         the tests that need no browser, server or training run: two minutes"
	@echo "make nightly       whole journeys at toy size, from an archive to released weights: ten minutes"
	@echo "make takes         recorded pieces made again, byte for byte: before and after a change of structure"
	@echo "make kills         prep, training and generation killed a hundred times each, and begun again"
	@echo "make fuzz          an hour of broken files for everything that reads files; .fuzz/ keeps what was found"
	@echo "make lint          style, types, import rules, sizes; of the page's JavaScript too"
	@echo "make fix           what ruff can mend by itself"
	@echo "make docs          the documentation as a site, in site/"
	@echo "make constraints   resolve constraints.txt anew"
	@echo "make clean         remove the environment and everything built"

demo: $(VENV)/core.stamp
	@test -n "$(PRIME)" || { echo "make demo: app/primes holds no .mid file; give one with PRIME=song.mid" >&2; exit 2; }
	$(BIN)/musicgen "$(PRIME)" --out demo.mid --audio demo.wav --seconds 20
	@echo
	@echo "The prime and 20 seconds of new music:"
	@echo "  $(CURDIR)/demo.wav   open it in any audio player"
	@echo "  $(CURDIR)/demo.mid   open it in any MIDI player or notation program"
	@echo "Your own: $(BIN)/musicgen prime.mid --out new.mid --audio new.wav"

# Warm compilations make the second run of the tests much shorter. A size limit makes JAX lock the cache between workers.
test quick nightly takes: export JAX_COMPILATION_CACHE_DIR = $(CURDIR)/.pytest_cache/jax
test quick nightly takes: export JAX_COMPILATION_CACHE_MAX_SIZE = 2000000000
test quick nightly takes: export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS = 0.2
# LLVM without its expensive passes: two thirds of the time that compiling takes.  Takes are of the usual compiler.
test quick nightly: export JAX_DISABLE_MOST_OPTIMIZATIONS = 1
test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not takes and not nightly" $(ARGS) $(TESTS)

quick: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow and not nightly and not takes" $(ARGS) $(TESTS)

nightly: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m nightly $(ARGS) $(TESTS)

# They hang on the processor and on the weights, so they are for whoever moves code, on one machine.
takes: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS) tests/takes

# `make test` has a few seconds of it.
fuzz: $(VENV)/dev.stamp
	$(BIN)/python tests/fuzz/fuzz.py $(READERS) --seconds $(SECONDS)

# `make test` has a few of preparing and generating, `make nightly` of training.
kills: export KILLS ?= 100
kills: $(VENV)/dev.stamp
	$(BIN)/python -m pytest $(ARGS) tests/app/test_kills.py

# npm and Node come with the environment.
lint node_modules/made.stamp: export PATH := $(abspath $(BIN)):$(PATH)
lint: $(VENV)/dev.stamp .tree/musicgen/__init__.py node_modules/made.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy -p musicgen
	cd .tree && PYTHONPATH=. $(abspath $(BIN))/lint-imports --no-cache --config ../pyproject.toml
	$(BIN)/python .ci/sizes.py $(PACKAGES)
	npm run --silent lint

fix: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# A broken link, a page that is not there or a docstring that cannot be read ends the build. No network is needed.
docs: export NO_MKDOCS_2_WARNING = 1
docs: $(VENV)/dev.stamp .tree/musicgen/__init__.py
	$(BIN)/python .ci/commands_page.py > docs/cli.new
	mv docs/cli.new docs/cli.md
	$(BIN)/python -m mkdocs build --quiet
	@echo "site/index.html; with search: $(BIN)/python -m http.server --directory site"

# mypy, import-linter and mkdocstrings want the packages where their names say: musicgen/app, not app.
.tree/musicgen/__init__.py:
	mkdir -p .tree/musicgen
	for part in app checkpoints data_prep model musicgen/__init__.py musicgen/__main__.py; do \
	  ln -sfn "../../$$part" ".tree/musicgen/$${part##*/}"; done

# Biome lints the page's JavaScript and holds its sizes, TypeScript checks it by its JSDoc.
node_modules/made.stamp: package.json | $(VENV)/dev.stamp
	@npm install --loglevel=error --no-package-lock --no-audit --no-fund
	@touch $@

# PYTHON311 and PYTHON312 name the two interpreters; nothing is installed, pip only resolves.
PYTHON311 ?= python3.11
PYTHON312 ?= python3.12
constraints:
	$(PYTHON311) .ci/constraints.py $(PYTHON311) $(PYTHON312) > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) .tree node_modules build dist site perceiver_musicgen.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .fuzz
	rm -f demo.mid demo.wav constraints.new docs/cli.new
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/core.stamp: $(VENV)/made.stamp pyproject.toml constraints.txt
	@echo "installing into $(VENV) (JAX and NumPy are most of it) ..."
	@$(PIP) --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/made.stamp pyproject.toml constraints.txt
	@echo "installing into $(VENV), with everything the tests need ..."
	@$(PIP) --editable ".[dev]"
	@touch $@ $(VENV)/core.stamp

$(VENV)/made.stamp:
	@set -e; \
	for candidate in $(if $(PYTHON),"$(PYTHON)",python3.12 python3.11 python3 python3.13); do \
	  if "$$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    echo "making $(VENV) with $$("$$candidate" --version)"; \
	    "$$candidate" -m venv "$(VENV)"; \
	    touch $@; exit 0; \
	  fi; \
	done; \
	echo "make: no Python >= 3.11 that can make environments$(if $(PYTHON), at PYTHON=$(PYTHON))." >&2; \
	echo "Install one (Debian, Ubuntu: apt install python3 python3-venv) or name it: make demo PYTHON=/path/to/python3.12" >&2; \
	exit 1
