# The table of contents of development. Needs python3 >= 3.11 and make; everything lands in .venv.
.DEFAULT_GOAL := help
.PHONY: help install demo test test-full check format lock bench clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

help:  ## Say what each target does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"gpupool needs Python 3.11 or newer; {sys.executable} is {v[0]}.{v[1]}. Set PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked requirements into $(VENV) (about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

install: $(STAMP)  ## Install everything into .venv (quick when nothing changed)

demo: install  ## Start the embedded pool, read sample pages through it, show what the pool did, stop
	@$(BIN)/gpupool demo

test: install  ## Run the test suite
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile

test-full: install  ## Run the long forms of the suite too (the whole ONNX backend suite)
	@$(BIN)/python -m pytest -q -m "not gpu"

check: install  ## Lint, format, types, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: install  ## Format and fix what can be fixed
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: install  ## Run the benchmarks that this machine can run (minutes)
	@$(BIN)/python -m bench

lock:  ## Resolve requirements.lock anew (needs uv)
	@printf 'opencv-python ; python_version < "3"\nonnxruntime==1.31.1\n' > .lock-overrides
	@uv pip compile pyproject.toml --extra all --group dev --universal --python-version 3.11 \
		--override .lock-overrides --no-header --no-annotate --generate-hashes --quiet --output-file requirements.lock; \
		status=$$?; rm -f .lock-overrides; exit $$status

clean:  ## Remove .venv and caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
