# make demo        the events of a photograph, under out/
# make test        checks and the whole test suite
# make check       formatting, lint and types
# make train-demo  a spiking network learns digits, in two minutes, under out/train-demo
# make bench       the benchmarks, and their report in benchmarks/REPORT.md
# make clean       remove what the others made
#
# Each sets up a virtual environment in .venv first; PYTHON chooses the interpreter.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check bench train-demo clean

demo: $(READY)
	$(BIN)/i2e convert "$$($(BIN)/python -c 'import pathlib, skimage; print(pathlib.Path(skimage.__file__).with_name("data") / "astronaut.png")')" -o out

test: check
	$(BIN)/python -m pytest -n auto --maxprocesses 4

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m pytest benchmarks --benchmark-only
	$(BIN)/python -m benchmarks.report

# One thread: two that wait for each other on a busy machine take many times as long.
train-demo: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/i2e train --recipe demo --dataset digits -w 0 -sp out -n train-demo --overwrite
	OMP_NUM_THREADS=1 $(BIN)/i2e evaluate --checkpoint out/train-demo/best.pt --out out/train-demo -w 0

clean:
	rm -rf $(VENV) build dist out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks

$(READY): pyproject.toml setup.py
	# Some systems ship venv without the pip that it should install.
	$(PYTHON) -m venv $(VENV) || { $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }
	$(BIN)/python -m pip install --upgrade --quiet pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
