# Two commands for a fresh machine: `make train` and `make test`. The real work is in CMake presets
# and tools/; this file only names it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PRESET ?= release
JOBS ?= $(shell nproc)
BINARY := build/$(PRESET)/infinipipe

.PHONY: help setup build test train bench paper peers soak format lint plan-only asan tsan cuda corpus clean distclean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup:  ## install Debian packages and the pinned wheels (a second run takes a second)
	@tools/setup.sh

build: setup  ## build everything (PRESET=release)
	@cmake --preset $(PRESET) --log-level=WARNING
	@cmake --build --preset $(PRESET) -j $(JOBS)

test: build  ## set up, build, run all tests
	@ctest --preset $(PRESET) -j $(JOBS)

train: build corpus  ## train a small Llama on Debian's Go sources over 2 pipeline stages
	@tools/train-default.sh $(BINARY)

corpus: build  ## the default corpus as an indexed dataset under corpus/
	@tools/corpus.sh $(BINARY)

bench: build  ## benchmarks: executor, planner, real runs (about half an hour)
	@tools/bench.sh build/$(PRESET)

peers: build  ## side by side with PyTorch's pipelining (about an hour a round, three by default; PEERS_FLAGS="--rounds 1")
	@tools/peers.sh build/$(PRESET) $(PEERS_FLAGS)

paper:  ## the paper's evaluation on simulated clusters, into docs/paper (no LibTorch)
	@tools/setup.sh plan-only
	@cmake --preset plan-only --log-level=WARNING
	@cmake --build --preset plan-only -j $(JOBS) --target infinipipe_paper
	@tools/paper.sh build/plan-only

soak: build  ## the property tests at full size (hours; PRESET=plan-only: the planning half's)
	@for test in build/$(PRESET)/tests/property_*_test; do INFINIPIPE_SOAK=1 nice $$test || exit 1; done

plan-only:  ## the planning half and its tests alone, without LibTorch
	@tools/setup.sh plan-only
	@cmake --preset plan-only --log-level=WARNING
	@cmake --build --preset plan-only -j $(JOBS)
	@ctest --preset plan-only -j $(JOBS)

asan: setup  ## planning half under address and undefined-behaviour sanitizers
	@cmake --preset asan-ubsan --log-level=WARNING
	@cmake --build --preset asan-ubsan -j $(JOBS)
	@ctest --preset asan-ubsan -j $(JOBS)

tsan: setup  ## planning half and communicator under the thread sanitizer
	@cmake --preset tsan --log-level=WARNING
	@cmake --build --preset tsan -j $(JOBS)
	@ctest --preset tsan -j $(JOBS)

cuda:  ## the CUDA build (needs the CUDA toolkit's libraries)
	@tools/setup.sh cuda
	@cmake --preset train-cuda --log-level=WARNING
	@cmake --build --preset train-cuda -j $(JOBS)

format:  ## clang-format every source file in place
	@tools/setup.sh lint
	@git ls-files '*.h' '*.cpp' | xargs clang-format -i

lint:  ## check format and clang-tidy (PRESET's compile commands)
	@tools/setup.sh lint
	@cmake --preset $(PRESET) --log-level=WARNING
	@tools/lint.sh build/$(PRESET)

clean:  ## remove build/ and runs/
	@rm -rf build runs

distclean: clean  ## remove everything that set-up and training made
	@rm -rf .deps corpus
