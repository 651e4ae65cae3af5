# Every command of this repository; `make` alone lists them.
# Nothing here touches anything outside this folder: tools and caches live in .venv and .make.
# But for `services`: as root it installs Debian packages, and Maven keeps its jars where it always does.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
BIN := .venv/bin
STAMP := .make/synced
REWRITTEN := .make/rewritten
SYNC := $(BIN)/python -m uv sync --frozen --all-extras

# A Python that was named is the only one tried; otherwise the first that is new enough.
PYTHONS := $(if $(filter file,$(origin PYTHON)),$(PYTHON) python3.13 python3.12 python3.11,$(PYTHON))

# Options of single commands, as in `make run ARGS="--port 8090"`.
ARGS ?=
RUN ?= smoke
ROUNDS ?= 3
URL ?= http://127.0.0.1:8080
FAULT_ROUNDS ?= 1000
GATE_ROUNDS ?= 1000
FUZZ_SECONDS ?= 600

# Real servers for tests: where they cannot be had, the tests that need them are left out, but not on CI.
SERVICES := PYTHONPATH=tests $(BIN)/python -m services
FETCHED := $(SERVICES) fetch || [ "$$CI" != true ]

# Tests that start and kill things: one after the other.
MARKED := e2e or faults or hostile or services or slow
# All others. Some of their time is waiting, so one more of them than there are cores run side by side.
# Each has a piece of the whole, and tests of a module stay together: what they share is made once.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2) + 1)
# What a folder marks is not even looked at, for each worker would collect it.
UNIT := -m 'not ($(MARKED))' $(addprefix --ignore=tests/,e2e faults hostile services)

# Each of the hundreds of processes that a run starts would else compile every module anew.
unexport PYTHONDONTWRITEBYTECODE
export UV_COMPILE_BYTECODE := 1
export UV_CACHE_DIR ?= $(CURDIR)/.make/uv
export PIP_CACHE_DIR ?= $(CURDIR)/.make/pip
export UV_PROJECT_ENVIRONMENT := $(CURDIR)/.venv
export UV_PYTHON_DOWNLOADS := never
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## List these commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## Install everything into .venv; the other commands do it by themselves

$(STAMP): pyproject.toml uv.lock
	@python=; for candidate in $(PYTHONS); do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    python=$$candidate; break; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Penstock needs Python 3.11 or newer, tried: $(PYTHONS); name one: make setup PYTHON=..." >&2; \
	  exit 1; \
	fi; \
	if ! $(BIN)/python -c 'import pip' >/dev/null 2>&1; then \
	  echo "making .venv with $$python; once, and about a gigabyte in all"; \
	  "$$python" -m venv --clear .venv; \
	fi
	@$(BIN)/python -c 'import uv' >/dev/null 2>&1 || echo "fetching the installer, uv"
	@$(BIN)/python -m pip install --quiet 'uv>=0.9,<1'
	@echo "fetching and installing what uv.lock names"
	@$(SYNC)
	@mkdir -p $(@D) && touch $@

.PHONY: run
run: $(STAMP) ## Serve http://127.0.0.1:8080 and feed it a small demo stream
	@exec $(BIN)/penstock serve --demo $(ARGS)

.PHONY: check
check: $(STAMP) ## Format, lint, types, imports, tidiness and unit tests: little more than a minute
	@$(MAKE) -j2 static unit

.PHONY: unit
unit: $(REWRITTEN) ## The part of `check` that runs tests
	$(BIN)/pytest -q -n $(WORKERS) --dist worksteal $(UNIT) $(ARGS)

# In a new clone each worker would rewrite every test module's asserts, all at the same time.
$(REWRITTEN): | $(STAMP)
	@$(BIN)/pytest -qq --collect-only $(UNIT) >/dev/null || true # `unit` says what is wrong
	@touch $@

.PHONY: static
static: $(STAMP) ## The part of `check` that runs no code of ours
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports > .make/imports 2>&1 || { cat .make/imports; exit 1; }

.PHONY: format
format: $(STAMP) ## Lay out the code and repair what the linter can
	$(BIN)/ruff check --fix --quiet
	$(BIN)/ruff format --quiet

.PHONY: test
test: $(STAMP) check ## Everything: `check`, and the tests that it leaves out
	@$(FETCHED)
	$(BIN)/pytest -m '$(MARKED)' $(ARGS)

.PHONY: services
services: $(STAMP) ## Fetch and start Kafka (three brokers), PostgreSQL and Redis; `. .services/env` leads there
	@$(SERVICES) start

.PHONY: services-stop
services-stop: $(STAMP) ## Stop what `services` started; the data stays in .services
	@$(SERVICES) stop

.PHONY: faults
faults: $(STAMP) ## The fault tests with FAULT_ROUNDS=1000 kills and outages of a minute; takes long
	@$(FETCHED)
	KILL_ROUNDS=$(FAULT_ROUNDS) AWAY_SECONDS=60 $(BIN)/pytest -m faults --timeout=14400 $(ARGS)

.PHONY: gate-kafka
gate-kafka: $(STAMP) ## Kill folds, timers and jobs on three brokers GATE_ROUNDS=1000 times; ends with a line of figures
	@$(FETCHED)
	KILL_ROUNDS=$(GATE_ROUNDS) $(BIN)/pytest -s --timeout=14400 tests/faults/test_folds_shared_killed.py $(ARGS)

.PHONY: gate
gate: $(STAMP) ## Kill a process that decides GATE_ROUNDS=1000 times, and count what was said; a few a second
	@PYTHONPATH=tests $(BIN)/python -m support.killing --rounds $(GATE_ROUNDS) $(ARGS)

.PHONY: fuzz
fuzz: $(STAMP) ## Any bytes to the edge, heads known and new, for FUZZ_SECONDS=600; what it finds is in .make/fuzz
	$(SYNC) --group fuzz
	@mkdir -p .make/fuzz/corpus
	PYTHONPATH=src:tests $(BIN)/python tests/fuzz/edge.py -max_total_time=$(FUZZ_SECONDS) \
	  -dict=tests/fuzz/http.dict -artifact_prefix=.make/fuzz/ .make/fuzz/corpus tests/fuzz/corpus $(ARGS)

.PHONY: bench
bench: $(STAMP) ## Measure this machine, a quick look; docs/benchmarks.md explains the figures
	$(BIN)/python -m bench $(ARGS)

.PHONY: bench-full
bench-full: $(STAMP) ## The same at full length, kept in docs/benchmarks.md: more than an hour
	$(BIN)/python -m bench --length full --write $(ARGS)

.PHONY: load
load: $(STAMP) ## Send the workload RUN=smoke to the server at URL and grade every answer
	$(BIN)/penstock load audiences $(RUN) --url $(URL) $(ARGS)

.PHONY: e2e-wallet
e2e-wallet: $(STAMP) ## Start the example by its page, load it, kill it ROUNDS=3 times, rebuild and compare it
	@PYTHONPATH=tests $(BIN)/python -m e2e.wallet $(ROUNDS)

.PHONY: docs
docs: $(STAMP) ## Generate docs/reference, deploy/.env.example and docs/reliability.md anew
	$(BIN)/python -m penstock.reference docs/reference deploy/.env.example
	PYTHONPATH=tests $(BIN)/python -m support.reliability docs/reliability.md

.PHONY: clean
clean: ## Remove .venv, caches, services and what was built; the data folder stays
	@if [ -e .services/running.json ]; then $(MAKE) services-stop; fi
	rm -rf .services .venv .make dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests $(wildcard attackers bench examples) -type d -name __pycache__ -prune -exec rm -rf {} +

.PHONY: clean-data
clean-data: ## Remove ./data with every event in it; stop the server first
	@if [ -e data ]; then echo "removing ./data and every event stored in it"; rm -rf data; \
	else echo "there is no ./data"; fi
