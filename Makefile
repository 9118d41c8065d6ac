# Everything works on a fresh clone: each target makes .venv and installs what it needs, once.
.DEFAULT_GOAL := help
.PHONY: help demo test check format bench exports picture page golden train app-models clean

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
MODELS := src/headcut/models
TRAIN_DATA = $(if $(DATA),--data $(DATA))
PAGE := src/headcut/web/built/index.html

help:  ## Show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.core  ## Cut the head out of examples/astronaut.jpg
	$(BIN)/headcut examples/astronaut.jpg
	@echo "Look at $(CURDIR)/examples/astronaut-head.png"

test: .venv/.dev  ## Run all tests
	@if command -v npm >/dev/null && $(MAKE) web/node_modules/.ready; then $(MAKE) page; \
	else echo "Without Node.js and its packages, the tests of the page are skipped"; fi
	$(BIN)/python -m pytest

check: .venv/.dev  ## Lint, formatting, types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict src/headcut

format: .venv/.dev  ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: .venv/.dev  ## Measure speed, memory and size
	$(BIN)/python benchmarks/bench.py

exports: .venv/.dev  ## Measure every export, ONNX and Core ML; DATA=folder of the data sets
	$(BIN)/python benchmarks/exports.py $(TRAIN_DATA) $(if $(ONLY),--only $(ONLY))

picture: .venv/.core  ## Draw the pictures of cut heads in README.md and docs again
	$(BIN)/python docs/picture.py

page: $(PAGE)  ## Build the page of `headcut serve` (needs Node.js)

golden: .venv/.core  ## Write the golden cases anew, for the page's code to do as Python does
	$(BIN)/python tests/make_golden.py

train: .venv/.dev  ## Train the three networks and export them; DATA=folder of the data sets
	$(BIN)/headcut-train train recipes/finder.toml $(TRAIN_DATA)
	$(BIN)/headcut-train export onnx runs/finder/last.pt -o $(MODELS)/finder.onnx $(TRAIN_DATA)
	$(BIN)/headcut-train mine $(TRAIN_DATA)
	$(BIN)/headcut-train train recipes/segmenter.toml $(TRAIN_DATA)
	$(BIN)/headcut-train export onnx runs/segmenter/last.pt -o $(MODELS)/segmenter.onnx $(TRAIN_DATA)
	$(BIN)/headcut-train train recipes/refiner.toml --start-from runs/segmenter/last.pt $(TRAIN_DATA)
	$(BIN)/headcut-train export onnx runs/refiner/last.pt -o $(MODELS)/refiner.onnx $(TRAIN_DATA)
	$(BIN)/headcut-train guess $(TRAIN_DATA)
	$(BIN)/headcut-train train recipes/refiner.toml --start-from runs/refiner/last.pt --guessed --out runs/refiner-2 $(TRAIN_DATA)
	$(BIN)/headcut-train export onnx runs/refiner-2/last.pt -o $(MODELS)/refiner.onnx $(TRAIN_DATA)
	$(BIN)/headcut-train calibrate $(MODELS)/finder.onnx $(TRAIN_DATA)

app-models: .venv/.dev  ## Write the Core ML models of the packaged app
	$(BIN)/headcut-train export coreml weights/finder.pt -o $(MODELS)/finder.mlpackage --crops 8
	$(BIN)/headcut-train export coreml weights/segmenter.pt -o $(MODELS)/segmenter.mlpackage --crops 8
	$(BIN)/headcut-train export coreml weights/refiner.pt -o $(MODELS)/refiner.mlpackage --crops 8
	$(BIN)/python packaging/models.py $(MODELS)/finder.mlpackage $(MODELS)/segmenter.mlpackage $(MODELS)/refiner.mlpackage

clean:  ## Remove .venv, caches and the built page; training runs stay
	rm -rf .venv web/node_modules src/headcut/web/built dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.core: pyproject.toml hatch_build.py constraints.txt | .venv/bin/python
	@echo "Installing headcut into .venv"
	@$(INSTALL) --editable .
	@touch $@

.venv/.dev: pyproject.toml hatch_build.py constraints.txt | .venv/bin/python
	@echo "Installing headcut, training and test tools into .venv (about a gigabyte)"
	@$(INSTALL) --editable ".[train,coreml,neck,app,batch,web,dev]"
	@touch .venv/.core $@

web/node_modules/.ready: web/package-lock.json
	cd web && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

$(PAGE): web/node_modules/.ready $(wildcard web/*.* web/src/* web/public/*) src/headcut/sample.jpg
	cd web && npm run build
