# Two commands matter: `make demo` and `make test`. Both set up what they need.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help demo test check format lint types arrows fast services lock clean

help:
	@echo "make demo      run the whole simulated site (Ctrl-C ends it)"
	@echo "make test      every check and every test; installs what they need"
	@echo "make check     the fast half: format, lint, types, arrows, tests without services"
	@echo "make services  install what the tests need beside Python: services, Chromium, bitcoind"
	@echo "make lock      write constraints.txt anew from pyproject.toml"

$(READY): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Naryn needs Python 3.11 or newer: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement constraints.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)
	@./.ci/services demo
	@$(BIN)/naryn demo $(ARGS) || [ $$? -eq 130 ]

test: $(READY) services lint types arrows
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not fixed_ports"
	$(BIN)/python -m pytest -m fixed_ports

check: $(READY) lint types arrows fast

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

arrows: $(READY)
	$(BIN)/lint-imports

fast: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/unit tests/drivers tests/architecture

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

services:
	@./.ci/services

lock:
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--all-extras --no-header pyproject.toml -o constraints.txt

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
