# Two commands for a fresh machine: `make train` and `make test`. The real work is in CMake presets
# and tools/; this file only names it.
#
# Every command builds what it runs and no more, in one folder per preset: what one has built, the
# next one finds. Each part ends with a line that says how long it took.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PRESET ?= release
JOBS ?= $(shell nproc)
BINARY := build/$(PRESET)/infinipipe
TIMED := @tools/timed.sh

.PHONY: gpu-bundle help setup build program install sbom tests benchmarks test train bench paper peers interop launchers extend extension soak \
  format lint plan-only asan tsan soak-sanitizers cuda corpus clean clean-runs distclean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# $(call build,PRESET,TARGETS): `all` is the program and all that the tests need.
define build
$(TIMED) configure cmake --preset $(1) --log-level=WARNING
$(TIMED) build cmake --build --preset $(1) -j $(JOBS) --target $(2)
endef

setup:  ## install Debian packages and the pinned wheels (a second run takes a second)
	$(TIMED) set-up tools/setup.sh

build: setup  ## build everything: program, tests and benchmarks (PRESET=release)
	$(call build,$(PRESET),all benchmark_programs)

program: setup  ## build the program infinipipe alone
	$(call build,$(PRESET),infinipipe)

install: setup  ## install program, libraries and headers into PREFIX (a folder of your choice)
	$(if $(PREFIX),,$(error install: PREFIX is not set; say where: make install PREFIX=~/infinipipe))
	$(call build,$(PRESET),installable)
	$(TIMED) install cmake --install build/$(PRESET) --prefix $(PREFIX)

sbom: program  ## bill of materials of the program, build/sbom.cdx.json (CycloneDX)
	$(TIMED) set-up tools/setup.sh sbom
	$(TIMED) sbom .deps/sbom/bin/python tools/sbom.py build/$(PRESET) build/sbom.cdx.json

tests: setup  ## build the program and all that the tests need
	$(call build,$(PRESET),all)

benchmarks: setup  ## build the benchmarks
	$(call build,$(PRESET),benchmark_programs)

test: tests  ## set up, build, run all tests
	$(TIMED) tests ctest --preset $(PRESET) -j $(JOBS)

train: program corpus  ## train a small Llama on Debian's Go sources, then extend its context
	$(TIMED) train tools/train-default.sh $(BINARY)

corpus: program  ## the default corpus as an indexed dataset under corpus/
	$(TIMED) corpus tools/corpus.sh $(BINARY)

bench: benchmarks  ## benchmarks: executor, planner, real runs (about half an hour)
	$(TIMED) benchmarks tools/bench.sh build/$(PRESET)

peers: benchmarks  ## side by side with PyTorch's pipelining (about an hour a round, three by default; PEERS_FLAGS="--rounds 1")
	$(TIMED) peers tools/peers.sh build/$(PRESET) $(PEERS_FLAGS)

interop: program  ## against transformers: models in and out, logits, training steps (10 minutes)
	$(TIMED) interop tools/interop.sh $(BINARY)

launchers: program  ## the lines of docs/launchers.md with torchrun, mpirun, Slurm and two hosts (as root)
	$(TIMED) launchers tools/launchers.sh $(BINARY) $(LAUNCHERS)

extend: program  ## a real model, SmolLM2-135M, from 8,192 to 16,384 tokens (about an hour)
	$(TIMED) extend examples/smollm2/extend.sh $(BINARY)

extension: program corpus  ## three seeds of `make train`'s two phases, with and without YaRN (a quarter of an hour)
	$(TIMED) extension tools/extension.sh $(BINARY)

paper:  ## the paper's evaluation on simulated clusters, into docs/paper (no LibTorch)
	$(TIMED) set-up tools/setup.sh plan-only
	$(call build,plan-only,infinipipe_paper)
	$(TIMED) paper tools/paper.sh build/plan-only

soak: tests  ## property tests and faults at full size (hours; PRESET=plan-only: the planning half's)
	@for test in build/$(PRESET)/tests/property_*_test; do INFINIPIPE_SOAK=1 nice $$test || exit 1; done
	@test ! -e build/$(PRESET)/tests/libfault_shim.so || \
	  INFINIPIPE_SOAK=1 nice python3 tests/fault/run.py build/$(PRESET) build/$(PRESET)/tests/fault
	@test $(PRESET) = plan-only || nice examples/sequence_parallel/whole_job.sh $(BINARY) \
	  build/$(PRESET)/tests/sequence_parallel processes

plan-only:  ## the planning half and its tests alone, without LibTorch
	$(TIMED) set-up tools/setup.sh plan-only
	$(call build,plan-only,all)
	$(TIMED) tests ctest --preset plan-only -j $(JOBS)

asan: setup  ## all tests under the address and undefined-behaviour sanitizers
	$(call build,asan-ubsan,all)
	$(TIMED) tests ctest --preset asan-ubsan -j $(JOBS)

tsan: setup  ## all tests under the thread sanitizer
	$(call build,tsan,all)
	$(TIMED) tests ctest --preset tsan -j $(JOBS)

soak-sanitizers: asan tsan  ## asan, tsan, and ten times the mutations of every parser's seeds
	@for replay in build/asan-ubsan/fuzz/*_replay; do \
	  name=$$(basename $$replay _replay); nice $$replay fuzz/corpus/$$name 20000 || exit 1; done

# From the CUDA build, unless a PRESET is named: PRESET=release makes one for dry runs.
bundle_preset = $(if $(filter file,$(origin PRESET)),train-cuda,$(PRESET))
gpu-bundle:  ## what tools/gpu_check.sh runs on a machine with a GPU, into build/gpu (needs the CUDA toolkit; PRESET=release: for dry runs)
	$(TIMED) set-up tools/setup.sh $(if $(filter train-cuda,$(bundle_preset)),cuda)
	$(call build,$(bundle_preset),gpu_bundle)
	@rm -rf build/gpu
	$(TIMED) bundle cmake --install build/$(bundle_preset) --prefix build/gpu --component gpu_bundle

cuda:  ## the CUDA build, benchmarks as well, and what its kernels compiled to (needs the CUDA toolkit)
	$(TIMED) set-up tools/setup.sh cuda
	$(call build,train-cuda,all benchmark_programs)
	$(TIMED) kernel-gate tools/kernel_gate.py build/train-cuda .deps/site/nvidia/cu13/bin/cuobjdump

format:  ## clang-format every source file in place
	@tools/setup.sh lint
	@git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs clang-format -i

lint:  ## check format and clang-tidy (PRESET's compile commands)
	@tools/setup.sh lint
	@cmake --preset $(PRESET) --log-level=WARNING
	@tools/lint.sh build/$(PRESET)

clean:  ## remove build/: what building made; runs, corpus and wheels stay
	@rm -rf build

clean-runs:  ## remove runs/: checkpoints, metrics and plans of training runs
	@rm -rf runs

distclean: clean clean-runs  ## remove everything that set-up and training made
	@rm -rf .deps corpus
