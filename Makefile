# make demo        converts a photograph; the events are in out/
# make test        format, lint, types and the test suite
# make test-all    the same with the tests marked slow
# make quick       the fast tests, for use while working
# make torture     injects faults, fuzzes readers and tries random conversions for MINUTES (30)
# make check       format, lint and types
# make docs        builds the site in build/site and checks its links
# make gpu         checks and measures on an NVIDIA GPU for at most SECONDS (420); DRY=1 rehearses it on the CPU
# make train-demo  trains a spiking network on digits in two minutes; the results are in out/train-demo
# make bench       runs the benchmarks and writes benchmarks/REPORT.md
# make clean       removes what the other targets made
#
# Each target but gpu creates a virtual environment in .venv first. PYTHON chooses the interpreter.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# One thread per test process: pytest-xdist already uses every core.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4
QUICK := $(addprefix tests/i2e_triton/, analysis datasets formats io sources visualize \
	test_functional.py test_images.py test_module.py test_reference.py test_shifts.py) tests/test_documents.py

MINUTES ?= 30
SECONDS := 420

.PHONY: demo test test-all quick torture check docs bench gpu train-demo clean

demo: $(READY)
	$(BIN)/i2e convert "$$($(BIN)/python -c 'import pathlib, skimage; print(pathlib.Path(skimage.__file__).with_name("data") / "astronaut.png")')" -o out

test: check
	$(PYTEST) -m "not slow"

test-all: check
	$(PYTEST)

quick: $(READY)
	$(PYTEST) -m "not slow" $(QUICK)

torture: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.torture --minutes $(MINUTES)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m pytest benchmarks --benchmark-only
	$(BIN)/python -m benchmarks.report

docs: $(READY)
	rm -rf build/site  # pages that no longer exist; the results of the examples are kept in docs/examples
	$(BIN)/sphinx-build --fresh-env --fail-on-warning --keep-going --doctree-dir build/doctrees docs build/site
	$(BIN)/python docs/check_links.py build/site

# Without .venv: a GPU machine often has PyTorch, but no network.
gpu:
	$(if $(wildcard $(READY)),$(BIN)/python,$(PYTHON)) -m benchmarks.gpu --seconds $(SECONDS) $(if $(DRY),--dry) $(if $(AGAIN),--again)

# One thread: on a busy machine, two threads that wait for each other are many times slower.
train-demo: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/i2e train --dataset digits --workers 0 --out out/train-demo --overwrite
	OMP_NUM_THREADS=1 $(BIN)/i2e evaluate out/train-demo/best.pt --out out/train-demo --workers 0

clean:
	rm -rf $(VENV) build dist docs/examples examples/out out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks

$(READY): pyproject.toml setup.py
	# Some systems ship venv without pip.
	$(PYTHON) -m venv $(VENV) || { $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }
	$(BIN)/python -m pip install --upgrade --quiet pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
