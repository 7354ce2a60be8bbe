# Everything runs from .venv, which these targets make. `make run` is the first thing to try.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODEL ?=
PORT ?= 5000

.PHONY: run install test lint unit docs bench gpu-fit clean

run: $(VENV)/.serve  ## install what serving needs, and serve MODEL (the built-in one by default)
	$(BIN)/berth serve $(MODEL) --port $(PORT)

install: $(VENV)/.serve  ## prepare .venv alone

# pip, not uv: only pip finds the CPU build of the pinned torch where one lies on the machine.
$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	touch $@

$(VENV)/.serve: $(VENV)/.made pyproject.toml
	$(BIN)/python -m pip install --quiet --progress-bar off torch==2.13.0
	$(BIN)/python -m pip install --quiet --progress-bar off -e ".[server,engine]"
	$(BIN)/python -m berth.kernels.build
	touch $@

$(VENV)/.test: $(VENV)/.serve
	$(BIN)/python -m pip install --quiet --progress-bar off -e ".[test]"
	touch $@

test: lint unit  ## everything that CI runs

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.test
	$(BIN)/python -m pytest

docs: $(VENV)/.test  ## write the generated pages anew
	$(BIN)/python -m berth.server.openapi > api/openapi.json
	$(BIN)/python -m berth.presets.page > docs/models.md
	$(BIN)/python -m berth.presets.schema presets
	$(BIN)/python -m berth.cli.fit_measure page

bench: $(VENV)/.test  ## measure Berth and its rivals on this machine; see docs/benchmarks
	$(BIN)/python -m benchmarks.main
	$(BIN)/python -m benchmarks.falcon

gpu-fit: $(VENV)/.test  ## measure what engines take of this machine's GPU, beside what fit says
	$(BIN)/python -m berth.cli.fit_measure gpu
	$(BIN)/python -m berth.cli.fit_measure page

clean:
	rm -rf $(VENV) build *.egg-info src/*.egg-info
