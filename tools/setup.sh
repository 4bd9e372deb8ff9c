#!/usr/bin/env bash
# Makes .venv with everything pinned. On Debian, and as root, it also installs what the interpreter itself lacks.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "setup: $*" >&2; exit 1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3.13 python3.12 python3.11 python3; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2])' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

install_debian() {
    command -v apt-get >/dev/null 2>&1 || fail "$1 is missing and this is not Debian: install it, then run make again"
    [ "$(id -u)" = 0 ] || fail "$1 is missing: run 'sudo apt-get install -y $1', then make again"
    echo "setup: installing $1"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$1" >/dev/null
}

python=$(find_python) || { install_debian python3; python=$(find_python) || fail "Python 3.11 or newer is needed"; }
"$python" -c 'import ensurepip, venv' 2>/dev/null || install_debian python3-venv

"$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements/dev.txt
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable compat/hailo_platform

# The compiled burst engine is an extra: without a compiler, or if it does not build, NumPy computes the same bits.
build_native() {
    local pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check)
    command -v "${CXX:-c++}" >/dev/null 2>&1 || { echo "setup: no C++ compiler: bursts are computed in NumPy"; return 0; }
    { "${pip[@]}" --requirement requirements/native.txt &&
        "${pip[@]}" --no-deps --no-build-isolation --force-reinstall ./native; } >build/native.log 2>&1 ||
        echo "setup: openhailo-native does not build here (build/native.log): bursts are computed in NumPy"
}
mkdir -p build
build_native
touch .venv/.ready
