# The two commands: `make run` serves the demo, `make test` runs every test. CONTRIBUTING.md lists all.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run build demo test figures format lint tsan asan fuzz layering thread-safety image \
        image-test deps clean distclean

help:  ## What there is to make
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

run:  ## Install what is missing, build, and serve the demo in the foreground (ARGS="--flag ...")
	@exec scripts/run.sh $(ARGS)

deps:  ## Debian packages and LibTorch: what `build` needs
	@scripts/apt.sh build
	@scripts/venv.sh build

build: deps  ## Release build: build/release/torchd and build/release/torchctl
	@scripts/build.sh release

demo: deps  ## The demo repository at build/demo-models
	@scripts/venv.sh export
	@scripts/demo.sh

test:  ## Every test; ONLY="unit tidy" for some steps
	@exec scripts/test.sh

figures: build demo  ## The figures that issues name; ONLY=name for one
	@scripts/venv.sh test
	@scripts/venv.sh bench
	@build/venv/bin/python bench/figures.py $(ONLY)

test-deps: deps
	@scripts/apt.sh test
.PHONY: test-deps

format: test-deps  ## clang-format all sources in place
	@scripts/lint.sh fix

lint: test-deps  ## clang-format and clang-tidy, reporting only
	@scripts/build.sh release torchd_proto torchd_proto_grpc
	@scripts/lint.sh

tsan: test-deps  ## Unit tests under ThreadSanitizer
	@scripts/tsan.sh

asan: test-deps  ## Unit tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@scripts/build.sh asan && ctest --preset asan

fuzz: test-deps  ## libFuzzer on pictures, requests and texts, SECONDS_EACH=60 each
	@scripts/fuzz.sh $(or $(SECONDS_EACH),60)

layering: deps  ## The arrows between folders: include table, shared link, lone headers
	@python3 tests/arrows/arrows_test.py
	@scripts/build.sh layering

thread-safety: test-deps  ## clang's lock analysis over every library
	@scripts/build.sh thread-safety

image:  ## Container image torchd:cpu, with BUILDER (docker, podman or buildah)
	@scripts/image.sh

image-test: build  ## Build the image on a base of our own, start it, classify, stop it
	@scripts/image_test.sh

clean:  ## Build products; the Python environment stays
	rm -rf build/release build/debug build/asan build/tsan build/thread-safety build/layering \
	    build/tidy build/demo-models

distclean:  ## All of build/
	rm -rf build
