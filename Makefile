# The contracts of this file: `make run`, `make test`, `make build`. Each installs what it needs and says so.

JOBS ?= $(shell nproc)
MODELS ?= $(CURDIR)/build/models
# Where `make run` puts the default model, and where `tradewind` looks for models afterwards.
HOME_MODELS := $(or $(TRADEWIND_MODELS),$(or $(TRADEWIND_HOME),$(or $(XDG_DATA_HOME),$(HOME)/.local/share)/tradewind)/models)
CTEST_FLAGS ?=
# More for cmake, as -DTW_PCH=ON
CMAKE_FLAGS ?=
# One part of the benchmarks: BENCH_FLAGS="--only 3b-q4_0 --rounds 5"
BENCH_FLAGS ?=

# Recipes run one after the other; each is parallel inside.
.NOTPARALLEL:

.PHONY: tekken run build test prove bench fuzz format lint asan tsan packages bench-packages model test-tools clean

build: build-packages
	cmake --preset release $(CMAKE_FLAGS)
	cmake --build --preset release --parallel $(JOBS) --target tradewind

run: build
	@mkdir -p -m 700 "$(dir $(HOME_MODELS))"
	@tools/fetch_default_model.sh "$(HOME_MODELS)" "$(MODELS)"
	TRADEWIND_MODELS="$(HOME_MODELS)" tools/run_demo.sh build/tradewind

# Everything, then ctest's summary last. Sanitizers run the unit tests (asan here and in CI, tsan in `make prove`).
test: packages model test-tools
	cmake --preset release -DTW_ASAN_CTEST=ON $(CMAKE_FLAGS)
	cmake --build --preset release --parallel $(JOBS)
	cmake --preset asan $(CMAKE_FLAGS)
	cmake --build --preset asan --parallel $(JOBS)
	TRADEWIND_TEST_MODELS="$(MODELS)" ctest --test-dir build --output-on-failure --parallel $(JOBS) $(CTEST_FLAGS)

# The full counts: every test, ThreadSanitizer, the fuzzers, the soak and the template differential at size.
# Writes bench/results/prove-*.log.
prove: packages model test-tools
	tools/prove.sh

bench: bench-packages model test-tools
	cmake --preset release $(CMAKE_FLAGS)
	cmake --build --preset release --parallel $(JOBS)
	TRADEWIND_MODELS="$(MODELS)" tools/bench.sh $(BENCH_FLAGS)

FUZZ_SECONDS ?= 60
fuzz: packages
	cmake --preset fuzz $(CMAKE_FLAGS)
	cmake --build --preset fuzz --parallel $(JOBS) --target fuzzers
	tools/fuzz.sh $(FUZZ_SECONDS)

asan tsan: packages model
	cmake --preset $@ $(CMAKE_FLAGS)
	cmake --build --preset $@ --parallel $(JOBS)
	TRADEWIND_TEST_MODELS="$(MODELS)" ctest --test-dir build/$@ --output-on-failure --parallel $(JOBS) -L unit --no-tests=error $(CTEST_FLAGS)

format: packages
	git ls-files '*.h' '*.cc' | xargs clang-format-19 -i

lint: packages
	cmake --preset release $(CMAKE_FLAGS)
	git ls-files 'src/*.cc' | xargs -P $(JOBS) -n 4 clang-tidy-19 -p build --quiet

build-packages:
	@tools/install_packages.sh build

packages:
	@tools/install_packages.sh test

bench-packages:
	@tools/install_packages.sh bench

model:
	@tools/fetch_default_model.sh "$(MODELS)"

tekken:
	@tools/fetch_tekken.sh build/tekken

test-tools: tekken
	@tools/setup_test_tools.sh

clean:
	rm -rf build
