# Needs Python 3.11+ and make; everything else is installed into .venv and .cache.
#   make demo    a pipeline on real data, versioned before your eyes
#   make demo-prefect   one as a Prefect flow that a new dataset version starts
#   make demo-airflow   one as Airflow DAGs, on a real Airflow
#   make demo-dagster   one as Dagster assets, in a running Dagster
#   make test    everything CI runs
#   make check   the same without what is slow (under 3 minutes)
#   make tests-airflow-3.0.6   the conformance suite on one version of an orchestrator; tests-versions on the oldest
#                and newest of each, which `make test` does too, tests-versions-all on all of .ci/versions
#   make soak    for an hour or two: writers, readers and a collector for ten minutes, 1,000 kills, 50,000 random steps
#   make bench   speed and memory beside W&B and DVC
#   make docs    write docs/cli.md from the commands
#   make format  let ruff rewrite the code

PYTHON ?= $(shell for p in python3 python python3.13 python3.12 python3.11 python3.14; do \
	"$$p" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PINS := .ci/constraints.txt
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -q
PARALLEL := -n $(WORKERS) --dist loadfile
IN_PARALLEL_prefect := -n $(WORKERS) --dist loadgroup # waits for servers and for processes that start
VERSIONS := $(patsubst .ci/versions/%.txt,%,$(wildcard .ci/versions/*.txt))
BETWEEN := airflow-3.1.8 # neither oldest nor newest: `make test` leaves it out
ORCHESTRATORS := $(patsubst tests/integrations/%/,%,$(wildcard $(addprefix tests/integrations/,prefect/ airflow/ dagster/)))

export PATH := $(PATH):$(abspath $(BIN)) # last: programs that the machine has come before those of wheels
# what the machine trusts, as pip does: a company's proxy has its own certificates
export UV_SYSTEM_CERTS ?= 1
unexport PYTHONDONTWRITEBYTECODE # compiled once, every later start is twice as fast

# uv is quick; where it cannot reach the packages, pip, which may be set up for them, does the same
INSTALL = { $(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -c $(PINS) $(1) || \
	$(BIN)/python -m pip install -q -c $(PINS) $(1); }
INSTALL_THESE = { $(BIN)/uv pip install -q --no-deps --python $(1)/bin/python $(2) || \
	$(BIN)/python -m pip --python $(1)/bin/python install -q --no-deps $(2); }

.PHONY: demo demo-prefect demo-airflow demo-dagster test check soak bench docs format lint types tests-core browser clean \
	tests-versions tests-versions-all $(addprefix tests-,$(ORCHESTRATORS) $(VERSIONS))

demo: $(VENV)/.demo
	@$(BIN)/headwater demo

demo-prefect: $(VENV)/.dev
	@$(BIN)/python examples/prefect/demo.py

demo-airflow: $(VENV)/.dev
	@$(BIN)/python examples/airflow/demo.py

demo-dagster: $(VENV)/.dev
	@$(BIN)/python examples/dagster/demo.py

# the longest first, so that with --jobs=2 the others go beside it: they mostly wait for servers
test: lint types tests-core $(addprefix tests-,$(ORCHESTRATORS)) tests-versions

check: lint types $(VENV)/.dev
	$(PYTEST) $(PARALLEL) -m "not slow" --ignore=tests/integrations tests

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

tests-core: $(VENV)/.dev
	$(PYTEST) $(PARALLEL) --ignore=tests/integrations tests

# one process each: an orchestrator changes logging, settings and signal handlers of the process it lives in
$(addprefix tests-,$(ORCHESTRATORS)): tests-%: $(VENV)/.dev browser
	$(PYTEST) $(IN_PARALLEL_$*) tests/integrations/$*

tests-versions: $(addprefix tests-,$(filter-out $(BETWEEN),$(VERSIONS)))

tests-versions-all: $(addprefix tests-,$(VERSIONS))

# what the adapter relies on is there, and the facts that hold for every orchestrator hold on this version of it
$(addprefix tests-,$(VERSIONS)): tests-%: .cache/versions/%/.made
	.cache/versions/$*/bin/python -m pytest -q tests/test_ranges.py \
		$(wildcard $(addprefix tests/integrations/$(firstword $(subst -, ,$*))/,test_seams.py test_conformance.py))

.cache/versions/%/.made: .ci/versions/%.txt $(VENV)/.made pyproject.toml
	rm -rf $(@D)
	$(PYTHON) -m venv --without-pip $(@D)
	$(call INSTALL_THESE,$(@D),-r $<)
	$(call INSTALL_THESE,$(@D),-e .)
	@touch $@

# a Chromium for the tests that look at pages; set HEADWATER_NO_BROWSER=1 to do without these tests
browser:
	@.ci/browser

soak: $(VENV)/.dev
	SOAK_SECONDS=600 KILLS=1000 MACHINE_EXAMPLES=1000 $(PYTEST) -s tests/stateful/test_crowd.py \
		tests/stateful/test_upkeep_machine.py

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

docs: $(VENV)/.dev
	$(BIN)/python .ci/cli_pages.py

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer was found; make PYTHON=/path/to/python3 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c $(PINS) uv
	@touch $@

$(VENV)/.demo: $(VENV)/.made pyproject.toml $(PINS)
	$(call INSTALL,-e ".[demo]")
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml $(PINS)
	$(call INSTALL,-e ".[dev]")
	@touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) .cache build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-output
