#!/usr/bin/env bash
# Builds the compiled burst engine with sanitizers beside the installed one and lets it be compared with the oracle.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$PWD/.venv/bin/python
build=build/native-sanitize
"$python" -m cmake --version >/dev/null 2>&1 && cmake=("$python" -m cmake) || cmake=(cmake)
"${cmake[@]}" -S native -B "$build" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DOPENHAILO_SANITIZE=ON \
    -DPython_EXECUTABLE="$python" >/dev/null
"${cmake[@]}" --build "$build" -j2 >/dev/null
mkdir -p "$build/package/openhailo_native"
cp native/openhailo_native/*.py "$build"/_burst*.so "$build/package/openhailo_native/"

# The sanitizers must be loaded before Python; leaks at exit are the interpreter's.
LD_PRELOAD="$("${CXX:-c++}" -print-file-name=libasan.so) $("${CXX:-c++}" -print-file-name=libubsan.so)" \
    ASAN_OPTIONS=detect_leaks=0 PYTHONPATH="$build/package:." \
    "$python" -m tests.unit.burst.compare --networks 300 --backends native
