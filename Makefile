# Every target sets up its own virtual environment first; nothing has to be installed by hand but Python >= 3.11.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out

.PHONY: demo test check bench setup clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[dev,embed]"
	touch $@

demo: setup
	$(BIN)/routewright demo --out $(OUT)/demo

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q -m "not slow and not gpu and not live" -n 2

test: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q -m "not gpu and not live" -n 2

bench: setup
	$(BIN)/python -m benchmarks --out $(OUT)/bench

clean:
	rm -rf $(VENV) $(OUT)
