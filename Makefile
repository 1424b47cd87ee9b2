# The one entry point: every target that a person or CI calls.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-deep test-clocks mutants prove lint format bench soak conformance docs messages screenshots lock clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The lock holds a hash of every file, for Python 3.11 to 3.14 on x86-64 and Arm.
$(READY): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "make: needs Python 3.11 or newer: set PYTHON=python3.x"; exit 1; }
	@echo "setting up $(VENV) from requirements.lock (once)"
	@{ $(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock 2>&1 || \
		echo "make: pip failed"; } | while read -r line; do case "$$line" in \
		Collecting*) n=$$((n + 1)); printf '\r  %s packages found' "$$n";; \
		Installing*) printf '\n  installing them\n';; \
		ERROR*) printf '\n%s\n' "$$line";; \
		"make: pip failed") exit 1;; \
	esac; done
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)  ## Run the main job on embedded defaults (ONCE=1: tell the story and end)
	@$(BIN)/gateway demo $(if $(ONCE),--once)

test: $(READY)  ## Set up and run the test suite
	@$(BIN)/python -m pytest -m "not deep" -n 3

test-deep: $(READY)  ## Long crash, fuzz and soak runs (SHARE=3: every third case of tests with many, by the commit)
	@$(BIN)/python -m pytest -m deep --timeout 1200 --durations 12 -n 3 $(if $(SHARE),--share $(SHARE) --drawn-by "$$(git rev-parse HEAD)")

test-clocks: $(READY)  ## The tests on a 29 February two years on or more, and across New Year
	@$(BIN)/python -m tests.clocks

mutants: $(READY)  ## Small changes that some test has to notice (ROOM=ledger/verify, or ROOM=policies)
	@$(BIN)/python -m tests.mutants$(if $(filter policies,$(ROOM)),.policies, $(ROOM))

prove: $(READY)  ## Prove the sentences of the law of the policies (builds the prover once; KEEP=1: keep it)
	@deploy/tools prove
	@$(BIN)/gateway policies prove --root policies $(if $(KEEP),--keep)

lint: $(READY)  ## ruff and mypy strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(READY)  ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

conformance: $(READY)  ## Print the data plane's conformance table (case, expected, seen)
	@$(BIN)/python -m tests.conformance.http.table

bench: $(READY)  ## Measure ours and its peers in one run and print ratios (QUICK=1: smaller)
	@$(BIN)/python -m tests.bench $(if $(QUICK),--quick)

soak: $(READY)  ## Load, failing suppliers and orders for MINUTES=10
	@$(BIN)/python -m tests.bench.soak --minutes $(or $(MINUTES),10)

docs: $(READY)  ## Make the pages of settings, problems and metrics and the API's examples of answers anew
	@$(BIN)/python -m gateway.runtime.operation.pages docs
	@$(BIN)/python -m tests.answers

messages: $(READY)  ## Collect the console's texts; what is new stands empty in the Chinese catalogue
	@mkdir -p build
	@$(BIN)/pybabel -q extract -F pyproject.toml -k N_ --no-location --omit-header --sort-output --width 120 -o build/console.pot gateway/console
	@$(BIN)/pybabel -q update -D console -i build/console.pot -d gateway/console/locale -l zh --no-fuzzy-matching \
		--ignore-obsolete --omit-header --ignore-pot-creation-date --width 120

screenshots: $(READY)  ## Make the pictures of the console's pages anew (needs chromium and chromedriver)
	@$(BIN)/python -m tests.browser.screenshots

lock: $(READY)  ## Resolve the lock anew
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--no-emit-index-url --upgrade pyproject.toml --group dev --all-extras --output-file requirements.lock

clean:  ## Remove what the targets made
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
