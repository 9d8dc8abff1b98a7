# make demo    two sites and a tunnel on this machine           FAR=wireguard-go or NEAR=... puts that daemon at that end
# make test    lint, types and all tests                        TESTS="tests/core -k rekey" chooses some
#              TESTS=fast: those of core, config and data plane, without root: some 90 seconds of CPU
# make fuzz    every fuzzer, native and Python                 SECONDS=3600 for all together; FUZZ="wg_quick" for some
#              RECORD=1 adds what was run to tests/fuzz/ledger.json
# make bench   micro benchmarks, then the tunnel bench          QUICK=1 for a short run; BENCH="--rounds 3" for others
# make bench-compare    micro benchmarks beside the saved ones   "python -m bench.micro --save-baseline" saves others
# make docs    the documents as a site, in build/docs/site/index.html
# make dist    the source distribution and the wheel, in dist/  TWICE=1 makes them again and compares
#              ARCH=aarch64 the wheel of that processor; root    SITE=URL where the documents are; SIGN=KEY as make sign
# make deb     the package for Debian 13, in dist/; root
# make sign    SIGN=KEY signs what is in dist/ (docs/releasing.md)
# make venv    only the environment that these need; make runtime: only what pywg itself needs, in .venv/bin/pywg
# make clean   removes what was built

NEAR ?= pywg
FAR ?= pywg
QUICK ?= 0
BENCH ?=
TESTS ?= tests
SECONDS ?= 600
FUZZ ?=
RECORD ?= 0
TWICE ?= 0
ARCH ?=
SITE ?=
SIGN ?=

# A test that is skipped has failed here: what it lacks, the others lack as well.
FAST := tests/core tests/config tests/fastpath -m "not netns and not slow" --no-skips

BIN := .venv/bin
SOURCES := $(shell find pywg -name '*.pyx' -o -name '*.pxd' -o -name '*.h' -o -name '*.inc')

export PATH := $(CURDIR)/.venv/bin:$(PATH)
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: demo test lint docs fuzz bench bench-compare dist deb sign venv runtime packages demo-packages bench-packages clean

demo: demo-packages runtime
	@exec $(BIN)/python -m bench.tunnel.demo --near $(NEAR) --far $(FAR) </dev/null

LINT = $(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check . && $(BIN)/mypy --no-error-summary \
	&& $(BIN)/cython-lint pywg tests

ifeq ($(TESTS),fast)
test: venv # the tests on one processor, and beside them lint on the other
	@{ $(LINT); } & $(BIN)/python -m pytest $(FAST) </dev/null; tested=$$?; wait $$! && exit $$tested
else ifeq ($(TESTS),tests)
# Two sessions at a time, for two processors: these wait more than they compute. Theirs is shown when both have ended.
# Lint runs beside them, before the other session. If it finds something, they are interrupted, and clean up.
# A shell has SIGINT ignored in what it runs beside itself, and the tests of interrupted commands need it.
BESIDE := $(addprefix tests/,api cli manage keys faults runtime model meta netns/doctor netns/exec) \
	$(addprefix tests/netns/test_,$(addsuffix .py,companion dropin_peers endless guides handover handshake_causes init \
	interop metrics monitor ping python python_guide reload save seeing systemd two_gateways up up_command up_whole))
test: venv
	@beside=$$(mktemp); trap 'rm -f '$$beside EXIT; \
	env --default-signal=INT nice -n 5 $(BIN)/python -m pytest -p no:cacheprovider $(BESIDE) </dev/null >$$beside 2>&1 & \
	{ $(LINT); } || { kill -INT $$!; wait $$!; exit 1; }; \
	$(BIN)/python -m pytest tests $(addprefix --ignore=,$(BESIDE)) </dev/null; tested=$$?; \
	wait $$!; other=$$?; cat $$beside; exit $$((tested ? tested : other))
else
test: venv lint
	@exec $(BIN)/python -m pytest $(TESTS) </dev/null
endif

lint: venv
	@$(LINT)

docs: venv
	@exec $(BIN)/python -m tests.meta.site

fuzz: venv
	@exec nice -n 19 $(BIN)/python -m tests.fuzz.supervisor --seconds $(SECONDS) $(if $(filter-out 0,$(RECORD)),--record) $(FUZZ) </dev/null

bench: venv .venv/.bench bench-packages
	@exec $(BIN)/python -m bench.micro $(if $(filter-out 0,$(QUICK)),--quick) </dev/null
	@$(BIN)/python -m bench.tunnel.handshakes </dev/null
	@exec $(BIN)/python -m bench.tunnel.bench $(if $(filter-out 0,$(QUICK)),--quick) $(BENCH) </dev/null

bench-compare: venv
	@exec $(BIN)/python -m bench.micro --compare </dev/null

dist: venv
	@$(if $(ARCH),.ci/packages ship gcc-aarch64-linux-gnu)
	@$(BIN)/python -m ship.dist $(if $(filter-out 0,$(TWICE)),--twice) $(addprefix --arch ,$(ARCH)) $(addprefix --site ,$(SITE)) </dev/null
	@$(if $(SIGN),$(BIN)/python -m ship.sign $(SIGN))

deb:
	@.ci/packages ship
	@exec python3 -m ship.deb </dev/null

sign:
	@exec python3 -m ship.sign $(SIGN)

# Where the environment forbids Python to write byte code, each of thousands of daemons and commands would compile pywg anew.
venv: packages .venv/.installed .venv/.native
	@$(BIN)/python -m compileall -q pywg

runtime: .venv/.built

packages:
	@.ci/packages

demo-packages:
	@.ci/packages demo $(if $(filter wireguard-go,$(NEAR) $(FAR)),wireguard-go)

bench-packages:
	@.ci/packages bench

# What is installed follows pyproject.toml; what is compiled follows the sources.
.venv/.runtime: pyproject.toml
	@.ci/venv
	@touch $@

.venv/.installed: pyproject.toml | .venv/.built
	@.ci/venv test
	@touch $@

.venv/.bench: .venv/.installed
	@.ci/venv bench
	@touch $@

.venv/.built: .venv/.runtime setup.py $(SOURCES)
	@$(BIN)/python setup.py --quiet build_ext --inplace </dev/null
	@touch $@

.venv/.native: .venv/.built $(wildcard tests/native/*.p*)
	@$(BIN)/python -m tests.native </dev/null
	@touch $@

clean:
	rm -rf .venv build dist .cache *.egg-info
	find pywg tests -name '*.so' -delete
