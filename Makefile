# The environment is .venv, made from hashed locks; every target makes what it needs.
PYTHON ?= python3
BIN := .venv/bin
ROOMS := $(wildcard tests/test_*.py) $(addprefix tests/,identity policy documents store pipeline vault oauth)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test quick check format bench lock clean

demo: .venv/base  ## one call end to end, on real protocol traffic
	@$(BIN)/aam demo

test: .venv/dev  ## the tests, in about five minutes on two cores
	@$(BIN)/python -m pytest -q -n 4 -m "not slow"

quick: .venv/dev  ## the inner loop, in about a minute: rooms by themselves, without the suites that serve brokers
	@$(BIN)/python -m pytest -q -n 2 -m "not slow" $(ROOMS)

check: .venv/dev  ## format, lint, strict types, tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(MAKE) --no-print-directory test

format: .venv/dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: .venv/dev  ## what the broker costs beside a direct call, in one run
	@$(BIN)/python -m tests.benchmarks

.venv/base: requirements/base.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed; this is %d.%d. Try: make PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "Setting up .venv from requirements/base.txt (hashed; about a minute the first time)"
	@$(PYTHON) -m venv .venv
	@$(PIP) --require-hashes -r requirements/base.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev: .venv/base requirements/dev.txt
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

lock:  ## renew the locks: needs uv; releases younger than a week wait
	uv pip compile pyproject.toml requirements/build.in --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --exclude-newer "$$(date -u -d '7 days ago' +%Y-%m-%d)" -q -o requirements/base.txt
	uv pip compile pyproject.toml requirements/build.in --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --exclude-newer "$$(date -u -d '7 days ago' +%Y-%m-%d)" -q -o requirements/dev.txt -c requirements/base.txt
	uv pip compile requirements/verifiers.in --universal --python-version 3.12 --generate-hashes --no-emit-index-url --no-header --no-annotate --exclude-newer "$$(date -u -d '7 days ago' +%Y-%m-%d)" -q -o requirements/verifiers.txt -c requirements/base.txt

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache
