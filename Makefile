# make demo | make test | make venv: each sets up what it needs on Debian or Raspberry Pi OS.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: help demo test venv dev format lint clean
help:
	@echo "make demo   one day of three neighbours who trade, through their real loops; report in out/demo/"
	@echo "make test   format, lint, types, import contracts, tests"
	@echo "make venv   .venv with the nanogrid command"
	@echo "make test-homeassistant"
	@echo "            what it is told by MQTT, judged by Home Assistant itself"
	@echo "make format apply the formatter"
	@echo "make bench-loop, bench-faults, bench-footprint, bench-plan, bench-forecast, bench-fuzzy,"
	@echo "            bench-market, bench-protocol, bench-store, bench-kills, bench-community,"
	@echo "            bench-instructions, bench-peers, bench-street-kills, bench-month,"
	@echo "            bench-nowcast, bench-challenger, bench-forecast-quick"
	@echo "            measurements beside peers; see docs/performance.md"

venv: $(VENV)/.installed
dev: $(VENV)/.installed-dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "nanogrid needs Python 3.11 or later; $(PYTHON) is older" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { \
	  rm -rf $(VENV); $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy python3-venv; \
	  $(PYTHON) -m venv $(VENV); }

$(VENV)/.installed: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install -q --prefer-binary -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install -q --prefer-binary -e '.[dev]'
	@touch $@

demo: venv
	$(BIN)/nanogrid hil run hil/scenarios/streets/three.toml --speed max --report out/demo

.PHONY: system-packages
system-packages:
	@missing=""; command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || missing="mosquitto"; \
	command -v mbpoll >/dev/null || missing="$$missing mbpoll"; \
	command -v chromedriver >/dev/null || missing="$$missing chromium chromium-driver"; \
	if [ -n "$$missing" ]; then \
	  $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends $$missing; fi

test: dev system-packages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --cov --cov-report=term -n 3 --dist loadfile --no-loadscope-reorder

# In an environment of its own: Home Assistant pins the versions of half of PyPI, for Python 3.11.
HA_VERSION := 2024.3.3
HA_VENV := .venv-homeassistant
HA_PYTHON ?= $(firstword $(shell command -v python3.11) $(PYTHON))
.PHONY: test-homeassistant
test-homeassistant: dev $(HA_VENV)/.installed
	@mkdir -p out
	$(BIN)/python -m tests.homeassistant.payloads > out/homeassistant.json
	$(HA_VENV)/bin/python tests/homeassistant/validate.py out/homeassistant.json

$(HA_VENV)/.installed:
	@$(HA_PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "homeassistant $(HA_VERSION) needs Python 3.11; $(HA_PYTHON) is another (HA_PYTHON=...)" >&2; \
	  exit 1; }
	$(HA_PYTHON) -m venv $(HA_VENV)
	$(HA_VENV)/bin/pip install -q --prefer-binary 'homeassistant==$(HA_VERSION)'
	@touch $@

format: dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: bench-loop bench-faults bench-footprint bench-plan bench-forecast bench-fuzzy
bench-loop: venv
	@command -v cyclictest >/dev/null || $(SUDO) apt-get install -qy --no-install-recommends rt-tests
	$(BIN)/python -m bench.loop

bench-faults: venv
	@command -v cyclictest >/dev/null || $(SUDO) apt-get install -qy --no-install-recommends rt-tests
	$(BIN)/python -m bench.loop --minutes 4 --faults

bench-footprint: venv
	$(BIN)/python -m bench.footprint

bench-plan: venv
	$(BIN)/pip install -q --prefer-binary -e '.[bench]'
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.plan

.PHONY: bench-nowcast bench-challenger
bench-nowcast: venv
	$(BIN)/python -m bench.nowcast

# A model of one's own, from export to champion: trains with TensorFlow, some minutes.
bench-challenger: venv | $(VENV)-train/bin/python
	$(VENV)-train/bin/pip install -q --prefer-binary -e '.[train]'
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.challenger

.PHONY: bench-forecast-quick
bench-forecast-quick: venv
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.forecast --quick

# TensorFlow gets a virtual environment of its own: it trains the weights that leave a set out.
bench-forecast: | $(VENV)-train/bin/python
	$(VENV)-train/bin/pip install -q --prefer-binary -e '.[train]' lightgbm
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(VENV)-train/bin/python -m bench.forecast

$(VENV)-train/bin/python:
	$(PYTHON) -m venv $(VENV)-train

.PHONY: bench-instructions bench-month
# Hours at first; what is done is kept in out/month/, and the next run goes on from there.
bench-month: dev
	$(BIN)/pip install -q --prefer-binary -e '.[bench]'
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 nice -n 10 $(BIN)/python -m bench.month

bench-instructions: venv
	@command -v valgrind >/dev/null || $(SUDO) apt-get install -qy --no-install-recommends valgrind
	$(BIN)/python -m bench.instructions

bench-fuzzy: dev
	$(BIN)/pip install -q --prefer-binary -e '.[bench]'
	$(BIN)/python -W ignore -m bench.fuzzy

.PHONY: bench-market bench-protocol
bench-market: venv
	$(BIN)/python -m bench.market
	$(BIN)/python -m bench.epoch

.PHONY: bench-community
bench-community: dev
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.community

bench-protocol: venv
	$(BIN)/python -m bench.protocol

.PHONY: bench-store bench-kills
bench-store: venv
	$(BIN)/python -m bench.store

bench-kills: venv
	@command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] \
	  || $(SUDO) apt-get install -qy --no-install-recommends mosquitto
	$(BIN)/python -m bench.kills

.PHONY: bench-street-kills bench-peers
bench-street-kills: venv
	@command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] \
	  || $(SUDO) apt-get install -qy --no-install-recommends mosquitto
	$(BIN)/python -m bench.street_kills

bench-peers: venv
	@command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] \
	  || $(SUDO) apt-get install -qy --no-install-recommends mosquitto
	$(BIN)/python -m bench.peers

clean:
	rm -rf $(VENV) $(HA_VENV) out build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
