# Needs GNU make and Python 3.11 or later with venv. Everything else goes into .venv, from requirements.lock.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
# Stamps: the locked packages are in; the project is in; its kernels are compiled.
LOCKED := $(VENV)/.locked
INSTALLED := $(VENV)/.installed
READY := $(VENV)/.ready

# The interpreter that .venv is made from: PYTHON=... or the first of these that is new enough and can make one.
PYTHON ?=
PYTHONS := $(PYTHON) python3.11 python3.12 python3.13 python3
NEW_ENOUGH := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))

# More words for pytest: make test PYTEST="-k gospa".
PYTEST ?=

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: $(READY) ## make .venv with the locked packages, the project and its compiled kernels

$(BIN)/python:
	@for python in $(PYTHONS); do \
	  if "$$python" -c '$(NEW_ENOUGH)' 2>/dev/null; then \
	    echo "$$python -m venv $(VENV)"; exec "$$python" -m venv $(VENV); \
	  fi; \
	done; \
	echo "needs Python 3.11 or later with venv and ensurepip; none of: $(PYTHONS)" >&2; exit 1

$(LOCKED): requirements.lock | $(BIN)/python
	$(PIP) install --quiet --require-hashes -r requirements.lock
	@touch $@

$(INSTALLED): $(LOCKED) pyproject.toml
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(READY): $(INSTALLED)
	$(BIN)/python -m apss_fusion.warm
	@touch $@

.PHONY: demo
demo: setup ## simulate a constellation, fuse it, print a summary and where the tracks are (into demo/)
	$(BIN)/apss-fusion demo --out demo

# Tests that call few kernels: they run on one core while, after an installation, the kernels are compiled on another.
EARLY := $(wildcard tests/test_topics_*.py tests/test_broker.py tests/test_replay_kafka.py tests/test_subscriber.py \
  tests/test_schemas.py tests/test_feeds_*.py)
RUN := $(BIN)/python -m pytest

.PHONY: test
test: $(INSTALLED) ## run the linters and every test
	@$(MAKE) --no-print-directory setup & compiling=$$!; \
	{ $(MAKE) --no-print-directory lint && { $(RUN) $(PYTEST) $(EARLY) || [ $$? -eq 5 ]; }; } || { kill $$compiling 2>/dev/null; exit 1; }; \
	wait $$compiling
	$(RUN) --numprocesses auto --dist loadfile $(PYTEST) $(addprefix --ignore=,$(EARLY))

.PHONY: lint
lint: $(INSTALLED) ## check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: format
format: $(INSTALLED) ## format the code and mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Folder of the broker that make kafka starts.
KAFKA_DATA := build/kafka

.PHONY: kafka
kafka: $(BIN)/python ## start a Kafka broker on localhost:9092 from its jars (needs Java 17 and Maven), data in build/kafka
	@address=$$($(BIN)/python deploy/kafka.py start $(KAFKA_DATA) --port 9092) && \
	  echo "a broker runs in the background on $$address; make kafka-stop ends it"

.PHONY: kafka-stop
kafka-stop: $(BIN)/python ## end the broker that make kafka started; its data stays in build/kafka
	@$(BIN)/python deploy/kafka.py stop $(KAFKA_DATA)

.PHONY: compose-check
compose-check: setup ## bring docker-compose.kafka.yml up for real, wait for the demo's tracks, take it down (needs Docker)
	$(BIN)/python -m deploy.compose_check

.PHONY: demo-kafka
demo-kafka: setup ## replay the demo into the broker of make kafka, and show its tracks as they arrive at a subscriber
	$(BIN)/apss-fusion demo-kafka --out demo

.PHONY: check-late
check-late: setup ## 1,000 random scenarios of late looks with restarts and budgets against the looks in order
	$(BIN)/python tests/check_late.py 1000 0

.PHONY: mutants
mutants: setup ## break the carrying of late looks in four ways, and see the check fail
	$(BIN)/python tests/mutants.py

.PHONY: chaos
chaos: setup ## kill, stop and refuse workers and brokers under load, for up to 30 minutes, and see that nothing is lost
	$(BIN)/python -m tests.chaos

.PHONY: bench
bench: setup ## print every table of benchmarks/ that takes minutes
	$(BIN)/python -m benchmarks

.PHONY: bench-full
bench-full: setup ## print the longer ones too: 100,000 ships, 500,000 objects, 1,000,000 tracks
	$(BIN)/python -m benchmarks --full

.PHONY: bench-accuracy
bench-accuracy: setup ## print the published tables of accuracy with our rows, over 100 runs each
	$(BIN)/python -m benchmarks.accuracy --bank --against fast

# Folder of recorded feeds: make bench-rivals DATA=DIR, or APSS_FUSION_FEEDS in the environment.
DATA ?= $(APSS_FUSION_FEEDS)

.PHONY: bench-rivals
bench-rivals: rivals ## print the comparison with other trackers: the sea, and recorded feeds where DATA=DIR or APSS_FUSION_FEEDS says
	$(BIN)/python -m benchmarks.side_by_side --ships 100 --ships 1000 --runs 3 --jpda
	@if [ -n "$(DATA)" ]; then $(BIN)/python -m benchmarks.blind --data "$(DATA)"; \
	else echo "benchmarks.blind is left out: DATA=DIR or APSS_FUSION_FEEDS names the folder of recorded feeds" >&2; fi

# Other trackers to measure against, in an environment of their own: nothing of the project imports them.
RIVALS := .venv-rivals
RIVALS_PIP := $(RIVALS)/bin/python -m pip --disable-pip-version-check --no-input

$(RIVALS)/.locked: benchmarks/rivals/requirements.lock | setup
	$(BIN)/python -m venv $(RIVALS)
	$(RIVALS_PIP) install --quiet --require-hashes -r benchmarks/rivals/requirements.lock
	@touch $@

.PHONY: rivals
rivals: $(RIVALS)/.locked ## make .venv-rivals with Stone Soup, for python -m benchmarks.side_by_side and benchmarks.blind

# As `lock`, for .venv-rivals.
.PHONY: lock-rivals
lock-rivals: setup ## write benchmarks/rivals/requirements.lock anew from requirements.in beside it
	$(BIN)/pip-compile --quiet $(UPGRADE) --strip-extras --allow-unsafe --generate-hashes \
	  --no-header --no-emit-options --output-file benchmarks/rivals/requirements.lock benchmarks/rivals/requirements.in
	@grep -viE '://|^-|^# ' benchmarks/rivals/requirements.lock > benchmarks/rivals/requirements.lock.new
	@mv benchmarks/rivals/requirements.lock.new benchmarks/rivals/requirements.lock

.PHONY: schemas
schemas: setup ## write topics/schemas/ anew from the structs of apss_fusion/model/
	$(BIN)/python -m apss_fusion.model.schemas

.PHONY: asyncapi
asyncapi: setup ## write topics/asyncapi.json anew from the data of topics/ and the schemas
	$(BIN)/python -m apss_fusion.streaming.asyncapi

# Versions and hashes only: no line of a lock may say where a package came from. UPGRADE=--upgrade takes newer ones.
# The second lock is the image's: what builds and runs the project, in the versions of the first, and no extra.
.PHONY: lock
lock: setup ## write the two locks anew from pyproject.toml (UPGRADE=--upgrade: newest versions)
	$(BIN)/pip-compile --quiet $(UPGRADE) --all-extras --strip-extras --allow-unsafe --generate-hashes \
	  --no-header --no-emit-options --output-file requirements.lock pyproject.toml
	@grep -viE '://|^-|^# ' requirements.lock > requirements.lock.new
	@mv requirements.lock.new requirements.lock
	$(BIN)/pip-compile --quiet --build-deps-for wheel --constraint requirements.lock --strip-extras --allow-unsafe \
	  --generate-hashes --no-annotate --no-header --no-emit-options --output-file requirements-runtime.lock pyproject.toml
	@grep -viE '://|^-|^# ' requirements-runtime.lock > requirements-runtime.lock.new
	@mv requirements-runtime.lock.new requirements-runtime.lock

.PHONY: wheel-test
wheel-test: setup ## run the tests against the built wheel instead of the checkout
	rm -rf build/wheel
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir build/wheel .
	$(PIP) install --quiet --no-deps --target build/wheel/site build/wheel/*.whl
	cd build/wheel && PYTHONPATH=site ../../$(BIN)/pytest --rootdir ../.. -c ../../pyproject.toml $(PYTEST) ../../tests

.PHONY: clean
clean: ## remove .venv, .venv-rivals and everything that was built
	rm -rf $(VENV) $(RIVALS) build dist demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
