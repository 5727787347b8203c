# Every target works on a fresh machine that has Python 3.11+ (with venv) and make.
PYTHON ?= python3
BIN    := .venv/bin
DELIVERY := tests/kit/test_consuming.py tests/kit/test_relay.py tests/webhook_gateway/test_spill.py
MEMBERS := $(wildcard shared/*/pyproject.toml services/*/pyproject.toml sandboxes/*/pyproject.toml devstack/pyproject.toml)

.PHONY: help demo serve test lint types walls unit fast test-containers test-compose year bench docs lock clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 18

demo: .venv/.ready  ## buy a barber apprenticeship through everything, print the timeline, end
	@$(BIN)/python -m devstack demo

serve: .venv/.ready  ## the same system, and it stays up
	@$(BIN)/python -m devstack serve

test: lint types walls unit  ## everything that must pass before a commit

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.ready
	$(BIN)/mypy

walls: .venv/.ready
	$(BIN)/lint-imports

unit: .venv/.ready
	$(BIN)/pytest

fast: .venv/.ready  ## the tests that need no server
	$(BIN)/pytest tests/contracts tests/architecture

test-containers: .venv/.ready  ## journeys, faults and delivery once more, on PostgreSQL and RabbitMQ in containers
	BURSAR_TEST_SERVERS=containers $(BIN)/pytest tests/journeys tests/faults $(DELIVERY)

test-compose: .venv/.ready  ## docker compose up with everything, a few hundred purchases, three enrollment consumers
	$(BIN)/pytest tests/compose

year: .venv/.ready  ## a school on a test clock, generated: 100 years of purchases, failures, refunds, disputes (YEARS=100)
	YEARS=$${YEARS:-100} $(BIN)/pytest tests/year

bench: .venv/.ready  ## the two hot paths, as ratios to what the machine can do at all (BENCH_EVENTS=10000)
	@$(BIN)/python -m tests.bench

docs: .venv/.ready  ## write the generated documents anew: event map, OpenAPI, AsyncAPI, JSON schemas
	$(BIN)/python -m devstack.documents

lock: .venv/.ready  ## resolve the newest versions and pin them with hashes
	$(BIN)/uv lock --quiet --upgrade
	$(BIN)/uv export --quiet --frozen --all-packages --all-extras --all-groups --no-emit-workspace --no-header \
	  --format requirements.txt --output-file requirements.lock
	@rm -f uv.lock

.venv/.ready: requirements.lock $(MEMBERS)
	@echo "setting up .venv (once)"
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
	  $(foreach member,$(MEMBERS),--editable $(patsubst %/,%,$(dir $(member))))
	@touch .venv/.ready

clean:  ## removes what make has made here
	rm -rf .venv .local .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
