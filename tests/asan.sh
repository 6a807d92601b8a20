#!/usr/bin/env bash
# Builds the extension with ASan and UBSan (halting) beside a copy of the package, runs the suite on
# it, then random calls of every kernel. FUZZ_SECONDS (60) and SUITE (the tests to run) may be set.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
bin=$(dirname "$python")
out=$PWD/build/asan
mkdir -p "$out"
rm -rf "$out/python"
cp -r python "$out/python"
rm -f "$out"/python/tilegrad/*.so
"$bin/cmake" -S . -B "$out/cmake" -G Ninja -DCMAKE_MAKE_PROGRAM="$bin/ninja" \
  -DPython_EXECUTABLE="$python" -DTILEGRAD_SANITIZE=ON \
  -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$out/python/tilegrad" >/dev/null
"$bin/cmake" --build "$out/cmake" -j 2

export PYTHONPATH="$out/python" PYTHONMALLOC=malloc
export ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:allocator_may_return_null=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export TILEGRAD_SANITIZED=1
preload="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so)"
# A harness that cannot fail proves nothing: a planted overflow must stop the process.
if LD_PRELOAD="$preload" "$python" -c \
  'import tilegrad._cpu as c; c.plant_overflow()' >/dev/null 2>&1; then
  echo "asan: the planted overflow was not caught" >&2
  exit 1
fi
LD_PRELOAD="$preload" "$python" tests/fuzz.py --seconds "${FUZZ_SECONDS:-60}"
LD_PRELOAD="$preload" "$python" -m pytest -p no:cacheprovider -n 2 \
  ${SUITE:-tests/test_ops.py tests/test_errors.py tests/test_vector_math.py} \
  -k "not second and not deep_chain"
