#!/usr/bin/env bash
# Builds the extension for aarch64 beside a copy of the package and runs the kernel tests on it under
# qemu, whose arithmetic is that of the processor bit for bit. On Debian it needs
# `apt-get install g++-aarch64-linux-gnu qemu-user`; Python for arm64 is unpacked from Debian, NumPy
# from its wheel, both below build/neon: nothing else of the machine changes, and no root is needed.
# SUITE (the tests to run) may be set.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
bin=$(dirname "$python")
out=$PWD/build/neon
root=$out/root
for tool in aarch64-linux-gnu-g++ qemu-aarch64 apt-get dpkg-deb; do
  command -v "$tool" >/dev/null || { echo "neon: $tool is missing" >&2; exit 1; }
done

if [ ! -e "$out/.python" ]; then  # Debian's Python for arm64 and what it needs
  rm -rf "$root" "$out/apt"
  mkdir -p "$root/usr/lib" "$out/apt/lists/partial" "$out/apt/archives/partial"
  ln -s usr/lib "$root/lib"
  touch "$out/apt/status"
  apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=
       -o Dir::State="$out/apt" -o Dir::State::status="$out/apt/status" -o Dir::Cache="$out/apt")
  "${apt[@]}" update
  "${apt[@]}" -y --no-install-recommends --download-only install python3 libpython3-dev libstdc++6
  for package in "$out"/apt/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --keep-directory-symlink
  done
  touch "$out/.python"
fi
version=$(basename "$(readlink "$root/usr/bin/python3")")  # python3.11, say
export QEMU_LD_PREFIX=$root
arm=(qemu-aarch64 "$root/usr/bin/$version")

if [ ! -e "$out/.wheels" ]; then
  "$python" -m pip install -q --target "$out/site" --upgrade --only-binary=:all: \
    --implementation cp --python-version "${version#python}" \
    --platform manylinux_2_28_aarch64 --platform manylinux2014_aarch64 \
    "numpy>=2.0" ml_dtypes pytest
  touch "$out/.wheels"
fi

rm -rf "$out/python"
cp -r python "$out/python"
rm -f "$out"/python/tilegrad/*.so
"$bin/cmake" -S . -B "$out/cmake" -G Ninja -DCMAKE_MAKE_PROGRAM="$bin/ninja" \
  -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_CXX_FLAGS="-idirafter $root/usr/include" \
  -DPython_EXECUTABLE="$python" -DPython_INCLUDE_DIR="$root/usr/include/$version" \
  -DPython_NumPy_INCLUDE_DIR="$out/site/numpy/_core/include" \
  -DPYTHON_MODULE_EXTENSION=".cpython-${version//[!0-9]/}-aarch64-linux-gnu.so" \
  -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$out/python/tilegrad" >/dev/null
"$bin/cmake" --build "$out/cmake" -j 2

export PYTHONPATH=$out/python:$out/site PYTHONHOME=$root/usr PYTHONDONTWRITEBYTECODE=1
"${arm[@]}" -m pytest -p no:cacheprovider -q ${SUITE:-tests/test_vector_math.py tests/test_*_kernels.py}
