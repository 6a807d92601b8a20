# Thin aliases. VENV names the private environment every target sets up for itself.
VENV ?= .venv
PY = $(VENV)/bin/python
BUILD ?= build/dev
DATA ?=

.PHONY: demo test test-all check format build bench asan wheel docs clean
.DEFAULT_GOAL := build

$(VENV)/.ready: pyproject.toml
	test -x $(PY) || python3 -m venv $(VENV)
	$(PY) -m pip install -q -U pip
	$(PY) -m pip install -q "scikit-build-core[setuptools]>=1.1" "pybind11>=3.0" "numpy>=2.0" cmake ninja
	$(PY) -m pip install -q --no-build-isolation -e ".[dev]"
	touch $@

# Incremental: recompiles what changed and puts the extension beside the Python sources.
build:
	$(VENV)/bin/cmake -S . -B $(BUILD) -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(VENV))/bin/ninja \
	  -DPython_EXECUTABLE=$(abspath $(PY)) -DCMAKE_LIBRARY_OUTPUT_DIRECTORY=$(CURDIR)/python/tilegrad $(CMAKE_ARGS) >/dev/null
	$(VENV)/bin/cmake --build $(BUILD) -j 2
