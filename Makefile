# Needs Python 3.11 or newer and make; everything else is installed into .venv.
#   make demo      a worker and a gateway on this machine, for some seconds
#   make unit      the tests that need no sockets, in about a minute
#   make test      lint, types, import rules, all tests with branch coverage
#   make format    what ruff can fix and format
#   make docs      what is generated in docs/ and from the table of options
#   make site      the documentation as a site in site/ (ARGS=serve shows it)
#   make test-beside  the worker beside what users have installed, in environments of its own (ARGS='-k name')
#   make simulate  simulated schedules (SEEDS=, FIRST=, ARGS=--stack); make chaos: real processes (SECONDS=, SEED=)
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
  command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  && { echo $$p; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
INSTALLED := $(VENV)/.installed
LOWEST := .venv-lowest
PRERELEASE := .venv-prerelease
EXAMPLES := .venv-examples
SITE := .venv-site
# One certificate authority instead of all of this machine's, which each client would load: 2 ms
# instead of 40, some thousand times. No test needs a real one.
FEW_AUTHORITIES := SSL_CERT_FILE=$(CURDIR)/tests/authority.pem
# Tests that take several times as long when they are traced, and whose code others cover.
UNTRACED := tests/unit/simulation tests/unit/sdk/test_fast_path_results.py tests/performance tests/beside/test_rows_here.py tests/beside/test_verdicts.py \
  $(addprefix tests/field/test_,blocked_outputs.py \
  process_state.py packed_programs.py children.py ends.py ends_of_processes.py ends_of_repeated_signals.py ends_of_journals.py ends_of_blocks.py) \
  tests/integration/cli/test_reload.py \
  $(addprefix tests/integration/test_,django.py examples.py tutorial.py pytest_plugin.py chaos_command.py processes.py)

.DEFAULT_GOAL := help
.PHONY: help demo test lint types imports coverage unit test-state-machine test-characterization test-contract \
  test-untraced test-others test-beside test-real test-pythons package test-performance test-simulation test-chaos simulate fleet \
  chaos kills scale journal-figures bench mutation figures test-lowest test-prerelease test-examples proto docs pictures \
  site transcripts format clean

help:
	@sed -n 's/^#  //p' Makefile

$(INSTALLED): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found; set PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)
	$(BIN)/inngest-connect demo $(ARGS)

# The traced tests mostly wait, so that the simulation, which only computes, can have the rest of the
# machine meanwhile; then what has processes and limits of its own.
test: $(INSTALLED)
	$(MAKE) --no-print-directory --jobs=2 lint types imports $(LOWEST)/.installed
	$(MAKE) --no-print-directory --jobs=2 coverage test-simulation
	$(MAKE) --no-print-directory --jobs=3 test-untraced test-others test-chaos

# The features of the SDK run on the newest one here, and on the oldest with ``make test-lowest``.
test-others:
	$(MAKE) --no-print-directory test-lowest ARGS=--ignore=tests/characterization/test_features.py
	$(MAKE) --no-print-directory test-characterization

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

imports: $(INSTALLED)
	$(BIN)/lint-imports

coverage: $(INSTALLED)
	$(BIN)/coverage erase
	$(FEW_AUTHORITIES) $(BIN)/coverage run -m pytest -n 4 -q -m 'not simulation and not chaos and not characterization and not real_server and not packaging and not beside' \
	  $(UNTRACED:%=--ignore=%) $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/coverage json --quiet -o .coverage.json
	$(BIN)/python scripts/coverage_limits.py .coverage.json

test-untraced: $(INSTALLED)
	$(FEW_AUTHORITIES) $(PYTEST) -n 4 -q $(UNTRACED) $(ARGS)

unit: $(INSTALLED)
	$(PYTEST) -m unit $(ARGS)

test-state-machine: $(INSTALLED)
	$(PYTEST) tests/unit/test_state_machine.py $(ARGS)

test-characterization: $(INSTALLED)
	$(FEW_AUTHORITIES) $(PYTEST) tests/characterization -q $(ARGS)

# What docs/protocol.md says of the gateway; of a real one too, with INNGEST_DEV_URL=http://...:8288.
test-contract: $(INSTALLED)
	$(PYTEST) tests/integration/contract $(ARGS)

# The rows of tests/beside/table.toml; the environments take some minutes once. Writes results.json,
# from which make docs generates a page.
test-beside: export BESIDE_RESULTS = tests/beside/results.json
test-beside: $(INSTALLED)
	nice $(PYTEST) -n 2 -q tests/beside $(ARGS)

# With INNGEST_BIN=/path/to/inngest, or INNGEST_DEV_URL=http://...:8288; some minutes.
test-real: $(INSTALLED)
	$(PYTEST) tests/real_server -q $(ARGS)

# Wheel and sdist, what they contain, and both installed into empty environments; a minute.
package: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'build>=1.2' 'twine>=6.1'
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	$(PYTEST) tests/packaging -q $(ARGS)

# The tests without processes and load on other interpreters, as many as are found.
test-pythons:
	for python in $(or $(PYTHONS),python3.12 python3.13 python3.14); do \
	  command -v $$python >/dev/null || { echo "$$python was not found"; continue; }; \
	  $(MAKE) --no-print-directory VENV=.venv-$$python PYTHON=$$python .venv-$$python/.installed && \
	  .venv-$$python/bin/python -W error::DeprecationWarning -m pytest -n 2 -q \
	    tests/unit tests/integration $(ARGS) || exit 1; \
	done

test-performance: $(INSTALLED)
	$(PYTEST) -m performance $(ARGS)

test-simulation: $(INSTALLED)
	nice -n 10 $(PYTEST) tests/simulation -q $(ARGS)

test-chaos: $(INSTALLED)
	$(PYTEST) tests/chaos -q $(ARGS)

simulate: $(INSTALLED)
	$(BIN)/python -m simulation --seeds $(or $(SEEDS),100000) --first $(or $(FIRST),0) $(ARGS)

# 10,000 cores at once, see docs/reliability.md#a-fleet; about four minutes.
fleet: $(INSTALLED)
	$(BIN)/python -m simulation.fleet --plot docs/fleet.svg $(ARGS)

chaos: $(INSTALLED)
	$(BIN)/python -m chaos --seconds $(or $(SECONDS),600) --seed $(or $(SEED),1)

# A worker with a journal that is killed again and again; about a minute for 70 kills.
kills: $(INSTALLED)
	$(BIN)/python -m chaos.kills --kills $(or $(KILLS),1000) --seed $(or $(SEED),1) $(ARGS)

# What the journal costs and saves; about five minutes, of which two are a lease.
journal-figures: $(INSTALLED)
	$(BIN)/python scripts/journal_figures.py $(ARGS)

# Figures of scale, see docs/reliability.md; about two minutes.
scale: $(INSTALLED)
	$(BIN)/python scripts/scale_figures.py $(ARGS)

# This worker and the official ones, compared; see docs/performance.md. ARGS=--quick takes a minute.
bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'matplotlib>=3.8'
	@if [ "$$(node --version 2>/dev/null | sed 's/v\([0-9]*\).*/\1/')" -ge 22 ] 2>/dev/null; then \
	  npm install --prefix bench/javascript --no-package-lock --silent; \
	else echo "node 22 or newer was not found: measuring without the JavaScript worker"; fi
	$(BIN)/python -m bench $(ARGS)

# Mutants of the core and the state machine; takes about half an hour. See docs/testing.md.
mutation: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'mutmut>=3.8,<4'
	$(BIN)/mutmut run --max-children 2
	$(BIN)/mutmut results

# Lines, comments, lengths of functions, and private helpers called once, for each wing.
figures: $(INSTALLED)
	@$(BIN)/python scripts/reading_figures.py $(ARGS)

# The oldest dependencies that pyproject.toml allows, in a separate environment.
$(LOWEST)/.installed: pyproject.toml scripts/lowest_requirements.py
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(LOWEST)/bin/python scripts/lowest_requirements.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint $(LOWEST)/constraints.txt --editable '.[dev]'
	@touch $@

test-lowest: $(LOWEST)/.installed
	$(FEW_AUTHORITIES) $(LOWEST)/bin/python -m pytest -n 2 tests/unit tests/integration/test_main_path.py \
	  tests/integration/test_fast_path.py -q \
	  tests/characterization/test_features.py --ignore=tests/unit/simulation $(ARGS)

# The newest inngest, pre-releases included, in a separate environment; not part of `make test`.
test-prerelease:
	$(PYTHON) -m venv $(PRERELEASE)
	$(PRERELEASE)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(PRERELEASE)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(PRERELEASE)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --pre 'inngest[connect]'
	$(PRERELEASE)/bin/python -m pytest -n 2 --dist loadfile tests/unit tests/characterization tests/integration/test_main_path.py \
	  tests/integration/test_embedded_gateway.py tests/integration/test_mocked_runs.py \
	  tests/integration/test_fast_path.py -q $(ARGS)

# All examples, with the frameworks that some of them need, in a separate environment; not part of
# `make test`, which runs the others.
$(EXAMPLES)/.installed: pyproject.toml
	$(PYTHON) -m venv $(EXAMPLES)
	$(EXAMPLES)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(EXAMPLES)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' fastapi
	@touch $@

test-examples: $(EXAMPLES)/.installed
	$(EXAMPLES)/bin/python -m pytest -n 2 tests/integration/test_examples.py tests/integration/test_pytest_plugin.py \
	  tests/integration/test_django.py -q $(ARGS)

# The generated protobuf module. This compiler is old on purpose: its output runs on every protobuf
# runtime from 5.29 to 7.
PROTOC := .venv-protoc
proto:
	$(PYTHON) -m venv $(PROTOC)
	$(PROTOC)/bin/python -m pip install --quiet --disable-pip-version-check 'grpcio-tools==1.62.3' 'setuptools<80'
	cd src && ../$(PROTOC)/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. \
	  inngest_connect/protocol/connect.proto

# The transcripts of the core, which tests compare word by word.
transcripts: $(INSTALLED)
	$(BIN)/python -m tests.unit.core.test_transcripts

docs: $(INSTALLED)
	$(BIN)/python scripts/diagrams.py
	$(BIN)/python scripts/scenario_docs.py
	$(BIN)/python scripts/option_docs.py
	$(BIN)/python -m scripts.beside_docs

# The pictures of the status page; needs Chromium, takes a minute and a half.
pictures: $(INSTALLED)
	$(BIN)/python -m scripts.pictures

# The pages of docs/ as a site; ARGS=serve shows it while you write. Installing takes half a minute once.
$(SITE)/.installed: pyproject.toml
	$(PYTHON) -m venv $(SITE)
	$(SITE)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(SITE)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[site]'
	@touch $@

site: export NO_MKDOCS_2_WARNING = 1
site: $(SITE)/.installed
ifdef ARGS
	$(SITE)/bin/mkdocs $(ARGS)
else
	$(SITE)/bin/mkdocs build --strict
	$(SITE)/bin/python scripts/site_check.py site
endif

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-beside .venv-lowest .venv-prerelease .venv-examples .venv-protoc .venv-site site .venv-python* dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis mutants
