# Every target works on a new machine that has Python 3.11 to 3.13 (with venv) and make.
PYTHON  ?= python3
WORKERS ?= auto
BIN     := .venv/bin
PYTEST  := $(BIN)/pytest -n $(WORKERS) --durations=10
# Versions and hashes, no URLs: pip installs them from whatever package index it is configured with.
EXPORT  := $(BIN)/uv export --quiet --frozen --no-emit-workspace --no-header --no-annotate
MEMBERS := $(wildcard shared/*/pyproject.toml services/*/pyproject.toml sandboxes/*/pyproject.toml devstack/pyproject.toml cli/pyproject.toml)
# Bytecode is kept: the tests start many processes, and each would compile everything again.
unexport PYTHONDONTWRITEBYTECODE
# What the generators of the clients need, Node among it.
TOOLS     := .local/client-tools
MUTATION  := .local/mutation-tools
WITH_NODE := export PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH"
DELIVERY := tests/kit/test_subscribers.py tests/kit/test_dead_letters.py tests/kit/test_relay.py tests/webhook_gateway/test_spill.py

.PHONY: help demo serve test lint types walls unit fast test-browser screenshots clients test-clients test-containers test-compose schemathesis conformance purchases year faults faults-long mutants bench bench-quick bench-large bench-verify bench-pages docs lock clean

help:  ## print this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 18

demo: .venv/.ready  ## start everything, buy a barber apprenticeship, print the timeline, stop
	@$(BIN)/python -m devstack demo

serve: .venv/.ready  ## start everything and keep it running
	@$(BIN)/python -m devstack serve

test: lint types walls unit  ## all checks and tests; must pass before a commit

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.ready
	$(BIN)/mypy

walls: .venv/.ready
	$(BIN)/lint-imports

unit: .venv/.ready
	$(PYTEST)

fast: .venv/.ready  ## the tests that need neither PostgreSQL nor RabbitMQ
	$(PYTEST) -m "not server"

test-browser: .venv/.ready  ## the pages in Chromium: the whole path of a student, every page by axe-core (CHROMIUM=path)
	CHROMIUM="$$(tests/browser/find-chromium)" && export CHROMIUM && $(BIN)/pytest tests/browser

screenshots: .venv/.ready  ## a picture of every page, into .local/screenshots
	CHROMIUM="$$(tests/browser/find-chromium)" && export CHROMIUM && SCREENSHOTS=.local/screenshots $(BIN)/pytest tests/browser

clients: $(TOOLS)/.ready  ## the clients of clients/, generated from docs/openapi/bursar.json
	$(TOOLS)/bin/openapi-python-client generate --path docs/openapi/bursar.json --config clients/python/generator.yaml \
	  --meta uv --output-path clients/python/bursar-client --overwrite
	cd clients/typescript && $(WITH_NODE) && npm run --silent generate && npm run --silent build

test-clients: .venv/.ready clients  ## lint the OpenAPI documents; each generated client buys a program on the whole system
	$(WITH_NODE) && npx --yes @redocly/cli@2.77.0 lint docs/openapi/*.json --config docs/openapi/redocly.yaml
	$(WITH_NODE) && npx --yes @stoplight/spectral-cli@6.16.3 lint docs/openapi/*.json \
	  --ruleset docs/openapi/spectral.yaml --fail-severity warn
	CLIENT_TOOLS=$(CURDIR)/$(TOOLS)/bin $(BIN)/pytest tests/clients

test-containers: .venv/.ready  ## the journey, fault and delivery tests on PostgreSQL and RabbitMQ in containers
	BURSAR_TEST_SERVERS=containers $(PYTEST) tests/journeys tests/faults $(DELIVERY)

test-compose: .venv/.ready  ## docker compose up with everything, a few hundred purchases, three enrollment consumers
	$(BIN)/pytest tests/compose

schemathesis: .venv/.ready  ## 30,000 generated requests to every API, valid and invalid: none is answered with 5xx (CASES=30000)
	CASES=$${CASES:-30000} $(BIN)/pytest --show-capture=no tests/fuzz

conformance: .venv/.ready  ## the expectations of Stripe's API, in its test mode (STRIPE_TEST_KEY), else against the sandbox
	$(BIN)/pytest tests/conformance

purchases: .venv/.ready  ## 10,000 generated purchases by every route, mixed; the books are counted (PURCHASES=10000)
	PURCHASES=$${PURCHASES:-10000} $(PYTEST) --dist worksteal tests/year/test_purchases.py

year: .venv/.ready  ## 100 generated years of a school on a test clock: purchases, failures, refunds, disputes (YEARS=100)
	YEARS=$${YEARS:-100} $(PYTEST) --dist worksteal --hypothesis-profile=thorough tests/year/test_year.py

faults: .venv/.ready  ## kills, outages and disorder while purchases are made; effects are counted; writes docs/faults.md
	@$(BIN)/python -m tests.faults

faults-long: .venv/.ready  ## rounds of SIGKILLs until a million events; goes on where it was ended (EVENTS=1000000)
	@$(BIN)/python -m tests.faults --long --events $${EVENTS:-1000000}

mutants: .venv/.ready $(MUTATION)/.ready  ## mutation testing of ledger, delivery and guards; writes docs/mutants.md (MOST=20 of each target)
	@$(BIN)/python -m tests.mutants --tool $(MUTATION)/bin/cosmic-ray $(if $(MOST),--most $(MOST))

bench: .venv/.ready  ## product / bare on this machine, every path; writes docs/performance.md (BENCH_EVENTS=10000)
	@$(BIN)/python -m tests.bench

bench-quick: .venv/.ready  ## the same in about three minutes, with fewer events
	@$(BIN)/python -m tests.bench --size quick

bench-large: .venv/.ready  ## the figures with ten million old rows in every table that grows
	@$(BIN)/python -m tests.bench --size large

bench-verify: .venv/.ready  ## how long the invariant takes (PURCHASES=10000)
	@$(BIN)/python -m tests.bench.verification --purchases $${PURCHASES:-10000}

bench-pages: .venv/.ready  ## how long the portal's pages take, and how large they are (STUDENTS=10000)
	@$(BIN)/python -m tests.bench.pages --students $${STUDENTS:-10000}

docs: .venv/.ready  ## regenerate the event map, OpenAPI, AsyncAPI and JSON schemas
	$(BIN)/python -m devstack.documents

lock: .venv/.ready  ## update all pins after a change of dependencies (UPGRADE=--upgrade: to the newest versions)
	$(BIN)/uv lock --quiet $(UPGRADE)
	$(EXPORT) --all-packages --all-groups --output-file requirements.lock
	$(EXPORT) --no-dev $(patsubst services/%/pyproject.toml,--package bursar-%,$(wildcard services/*/pyproject.toml)) \
	  --package bursar \
	  --output-file deploy/services.txt
	$(EXPORT) --no-dev --package bursar-stripe-sandbox --package bursar-milady-sandbox --package bursar-identity-sandbox \
	  --package bursar-workspace \
	  --group mail-catcher --output-file deploy/sandboxes.txt
	@rm uv.lock

.venv/.ready: requirements.lock $(MEMBERS)
	@echo "setting up .venv"
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
	  $(foreach member,$(MEMBERS),--editable $(patsubst %/,%,$(dir $(member))))
	@touch .venv/.ready

$(TOOLS)/.ready: clients/requirements.txt clients/typescript/package-lock.json
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check --requirement clients/requirements.txt
	cd clients/typescript && $(WITH_NODE) && npm ci --silent --ignore-scripts
	@touch $@

$(MUTATION)/.ready: tests/mutants/requirements.txt
	$(PYTHON) -m venv $(MUTATION)
	$(MUTATION)/bin/pip install --quiet --disable-pip-version-check --requirement tests/mutants/requirements.txt
	@touch $@

clean:  ## remove everything that make created
	rm -rf .venv .local .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
