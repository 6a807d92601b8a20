# Thin aliases. VENV is the private environment every target sets up for itself.
VENV ?= .venv
PY = $(VENV)/bin/python
BUILD ?= build/dev
DATA ?=
CMAKE_ARGS ?=
TOOLS = "setuptools>=77" "scikit-build-core[setuptools]>=1.1" "pybind11>=3.0" "numpy>=2.0" cmake ninja
READY = $(VENV)/.ready

.DEFAULT_GOAL := build
.PHONY: demo test test-all mutation check format build bench asan neon wheel clean

demo: $(READY)
	$(PY) -m tilegrad demo $(if $(DATA),--data $(DATA))

test: $(READY)
	$(PY) -m pytest -n 2 tests

# Plants faults in derivatives and gradient kernels one at a time; the tests must catch 99 %.
mutation: $(READY)
	$(PY) tests/mutation

# The slow rows too, then once more on the reference kernels and under every instruction set.
test-all: $(READY) asan mutation
	TILEGRAD_TEST_ALL=1 $(PY) -m pytest -n 2 tests
	TILEGRAD_KERNELS=reference $(PY) -m pytest -n 2 tests/test_ops.py tests/test_autograd.py tests/test_nn.py
	for isa in generic avx2; do TILEGRAD_CPU_ISA=$$isa $(PY) -m pytest -n 2 tests/test_nn.py tests/test_train.py || exit 1; done

$(READY): pyproject.toml
	test -x $(PY) || python3 -m venv $(VENV)
	$(PY) -m pip install -q -U pip
	$(PY) -m pip install -q $(TOOLS)
	$(PY) -m pip install -q --no-build-isolation -e ".[dev]"
	touch $@

# Incremental: compiles what changed and puts the extension beside the Python sources.
build: $(READY)
	$(VENV)/bin/cmake -S . -B $(BUILD) -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(VENV))/bin/ninja \
	  -DPython_EXECUTABLE=$(abspath $(PY)) $(CMAKE_ARGS) \
	  -DCMAKE_LIBRARY_OUTPUT_DIRECTORY=$(CURDIR)/python/tilegrad >/dev/null
	$(VENV)/bin/cmake --build $(BUILD) -j 2

# Lint, format and types; .ci/run calls it too.
check: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs $(VENV)/bin/clang-format --dry-run -Werror
	$(PY) -m mypy

format: $(READY)
	$(PY) -m ruff check -q --fix . || true
	$(PY) -m ruff format -q .
	git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs $(VENV)/bin/clang-format -i

bench: $(READY)
	$(PY) -m tilegrad bench

# The suite under ASan and UBSan (halting), then a minute of random calls of every kernel.
asan: $(READY)
	tests/asan.sh $(abspath $(PY))

# The kernel tests on aarch64, cross-compiled and emulated (Debian: g++-aarch64-linux-gnu, qemu-user).
neon: $(READY)
	tests/neon.sh $(abspath $(PY))

wheel: $(READY)
	$(PY) -m pip wheel -q --no-deps --no-build-isolation -w dist .
	ls -l dist

clean:
	rm -rf build dist python/tilegrad/*.so
