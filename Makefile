# Everything runs from .venv, which these targets make. `make run` is the first thing to try.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODEL ?=
PORT ?= 5000
TAG ?=
OPTIONS ?=
IMAGE ?=
SBOM ?= build/sbom.json
CHARTS := $(dir $(wildcard charts/*/Chart.yaml))

.PHONY: run install test lint unit test-images docs bench gpu-fit clean
.PHONY: image images controller-image sbom charts push-charts

run: $(VENV)/.serve  ## install what serving needs, and serve MODEL (the built-in one by default)
	$(BIN)/berth serve $(MODEL) --port $(PORT)

install: $(VENV)/.serve  ## prepare .venv alone

# What pip shows: its progress to a person, errors alone to a log.
PIP = $(BIN)/python -m pip install $(if $(CI),--quiet --progress-bar off,--no-input)

# pip, not uv: only pip finds the CPU build of the pinned torch where one lies on the machine.
$(VENV)/.made:
	@echo "[1/4] making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade "pip>=24"
	touch $@

$(VENV)/.serve: $(VENV)/.made pyproject.toml
	@echo "[2/4] installing torch into $(VENV); once, and the longest part"
	@$(PIP) torch==2.13.0
	@echo "[3/4] installing what serving needs"
	@$(PIP) -e ".[server,engine]"
	@echo "[4/4] compiling the CPU kernels for this machine"
	@$(BIN)/python -m berth.kernels.build
	@touch $@

$(VENV)/.test: $(VENV)/.serve
	@echo "installing what the tests need"
	@$(PIP) -e ".[test]"
	@touch $@

test: lint unit  ## everything that CI runs

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.test
	$(BIN)/python -m pytest

test-images: $(VENV)/.test  ## build images and run them as containers; as root on Debian, minutes
	$(BIN)/python -m pytest -m images tests/images

docs: $(VENV)/.test  ## write the generated pages anew
	$(BIN)/python -m tools.openapi_page > api/openapi.json
	$(BIN)/python -m tools.models_page > docs/models.md
	$(BIN)/python -m tools.preset_schema presets
	$(BIN)/python -m tools.fit_measure page
	$(BIN)/python -m berth.workspace.crd > api/kaito.sh_workspaces.yaml
	$(BIN)/python -m tools.crd_page docs/workspace.md
	$(BIN)/python -m berth.workspace.reasons > docs/conditions.md
	$(BIN)/python -m tools.kaito_page docs/from-kaito.md
	$(BIN)/python -m berth config schema > docs/berth.schema.json
	$(BIN)/python -m tools.plan_examples workspace-examples
	$(BIN)/python docker/generate.py
	$(BIN)/python charts/schema.py

image: $(VENV)/.serve  ## build the image of MODEL; TAG=name:tag, OPTIONS="--no-weights --push"
	$(BIN)/berth build $(or $(MODEL),$(error say which: make image MODEL=pocket)) \
		$(if $(TAG),--tag $(TAG)) $(OPTIONS)

images: $(VENV)/.serve  ## build the image of every model whose weights are here; names the others
	$(BIN)/berth build --all $(OPTIONS)

controller-image: $(VENV)/.serve  ## build the image of the controller
	$(BIN)/berth build controller $(if $(TAG),--tag $(TAG)) $(OPTIONS)

sbom: $(VENV)/.test  ## write what IMAGE is made of to SBOM (build/sbom.json), as CycloneDX
	$(BIN)/python -m berth.images.sbom $(or $(IMAGE),$(error say which: make sbom IMAGE=pocket:0.1.0)) \
		$(SBOM)

charts:  ## check the charts and pack them into build/charts; needs helm
	helm lint --strict $(CHARTS)
	helm package $(CHARTS) --destination build/charts

push-charts: charts  ## push the packed charts to REGISTRY (oci://registry.example.com/charts)
	for chart in build/charts/*.tgz; do helm push $$chart $(REGISTRY) || exit 1; done

bench: $(VENV)/.test  ## measure Berth and its rivals on this machine; see docs/benchmarks
	$(BIN)/python -m benchmarks.main
	$(BIN)/python -m benchmarks.falcon

gpu-fit: $(VENV)/.test  ## measure what engines take of this machine's GPU, beside what fit says
	$(BIN)/python -m tools.fit_measure gpu
	$(BIN)/python -m tools.fit_measure page

clean:
	rm -rf $(VENV) build *.egg-info src/*.egg-info
