# The two commands: `make demo` and `make test`. Everything else is listed by `make help`.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
REPORT := build/report

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint type conformance conformance-table wire mutants fuzz fuzz-long fuzz-vfio-user e2e stress vm api-coverage bench bench-feagi feagi-realtime feagi-oracle native-sanitize docs ci clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

$(VENV)/.ready: tools/setup.sh requirements/dev.txt requirements/native.txt pyproject.toml $(wildcard native/*.t* native/src/*)
	tools/setup.sh

setup: $(VENV)/.ready ## make .venv with everything pinned

demo: $(VENV)/.ready ## compile real models, boot the virtual chip, find things in real photos
	$(BIN)/openhailo demo --output build/demo

test: $(VENV)/.ready ## the whole test suite that needs no hardware
	$(PYTEST) -q -n 2 tests/unit tests/golden tests/conformance tests/e2e tests/compat

lint: $(VENV)/.ready ## ruff and the floors of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

type: $(VENV)/.ready ## mypy --strict
	$(BIN)/mypy

conformance: $(VENV)/.ready ## the conformance suite on the device named by OPENHAILO_DEVICE (default: the twin)
	$(PYTEST) -q tests/conformance

conformance-table: $(VENV)/.ready ## the suite on every device at hand, and docs/conformance.md (TABLE_FLAGS=--check compares)
	$(BIN)/python -m tests.conformance --report $(REPORT)/conformance.json --docs docs/conformance.md $(TABLE_FLAGS)

wire: $(VENV)/.ready ## replay the recorded exchanges of the vendor's stack and compare byte for byte
	$(BIN)/python -m tests.wire --report $(REPORT)/wire.json

mutants: $(VENV)/.ready ## bend the twin's copy of the map and count what the tests catch
	$(BIN)/python -m tests.mutants --report $(REPORT)/mutants.json

fuzz: $(VENV)/.ready ## hostile inputs on every surface, short
	$(BIN)/python -m tests.fuzz --seconds 60 --report $(REPORT)/fuzz.json

fuzz-long: $(VENV)/.ready ## the same, a million inputs and more
	$(BIN)/python -m tests.fuzz --inputs 1000000 --report $(REPORT)/fuzz.json

fuzz-vfio-user: $(VENV)/.ready ## a million random messages to the server of virtual cards
	$(BIN)/python -m tests.fuzz.vfio_user --count 1000000 --report $(REPORT)/fuzz-vfio-user.json

e2e: $(VENV)/.ready ## real models, bit for bit against ONNX Runtime
	$(PYTEST) -q tests/e2e

stress: $(VENV)/.ready ## 100,000 frames of three processes, some of them killed, through one broker on two devices
	$(BIN)/python -m tests.stress --frames 100000 --report $(REPORT)/stress.json

vm: $(VENV)/.ready ## our driver in a Linux guest against virtual chips on a real PCI bus (QEMU out of Debian packages)
	$(BIN)/python -m tests.vm --report $(REPORT)/vm.json $(VM_FLAGS)

bench: $(VENV)/.ready ## speed against peers measured in the same run
	$(BIN)/python -m benchmarks --report $(REPORT)/bench.json

api-coverage: $(VENV)/.ready ## how much of the original's Python API is there and tested
	$(BIN)/python -m tools.hailo_platform_coverage $(API_FLAGS)

build/feagi-peers/.ready: requirements/bench-feagi.txt
	python3 -m venv build/feagi-peers/venv
	build/feagi-peers/venv/bin/pip install --quiet --disable-pip-version-check --requirement $< || \
		echo "bench-feagi: peers could not be installed; they are left out"
	touch $@

bench-feagi: $(VENV)/.ready build/feagi-peers/.ready ## the burst engine against scipy, brian2 and NEST, 1K to 1M neurons
	$(BIN)/python -m benchmarks.feagi --report $(REPORT)/bench-feagi.json
	$(BIN)/python -m benchmarks.feagi_chip --report $(REPORT)/bench-feagi-chip.json
	$(BIN)/python -m benchmarks.feagi_chip --realtime 5 --report $(REPORT)/feagi-realtime-short.json

feagi-realtime: $(VENV)/.ready ## a million neurons at 1000 Hz through the chip, for a minute
	$(BIN)/python -m benchmarks.feagi_chip --realtime 60 --report $(REPORT)/feagi-realtime.json

feagi-oracle: $(VENV)/.ready ## 10,000 generated networks: every core and kernel against the slow oracle, bit for bit
	$(BIN)/python -m tests.unit.burst.compare --networks 10000 --report $(REPORT)/feagi-oracle.json

native-sanitize: $(VENV)/.ready ## the compiled core under AddressSanitizer and UndefinedBehaviorSanitizer
	tools/sanitize_native.sh

docs: $(VENV)/.ready ## check links, commands and examples of the docs
	$(BIN)/python -m tools.docs

ci: ## what continuous integration runs
	$(MAKE) lint type
	$(MAKE) wire mutants fuzz fuzz-vfio-user
	$(MAKE) conformance-table TABLE_FLAGS=--check
	$(MAKE) stress
	$(MAKE) vm VM_FLAGS=--required
	$(MAKE) api-coverage API_FLAGS=--check
	$(MAKE) docs demo bench
	$(MAKE) test

clean: ## remove everything that was built
	rm -rf build dist $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
