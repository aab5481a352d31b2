PYTHON ?= python3
# Where torch comes from. A CUDA machine takes its own: make demo TORCH_INDEX=https://pypi.org/simple
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo baselines test fuzz bench clean

demo: .venv/installed
	$(BIN)/python run_cai.py --name demo

baselines: .venv/installed
	$(BIN)/python run_cai.py --name demo --baselines

test: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/python -m pytest -q

fuzz: .venv/installed-dev
	FUZZ_FILES=10000 $(BIN)/python -m pytest -q tests/test_fuzz.py

bench: .venv/installed-bench
	$(BIN)/python -m benchmarks cpu --compile True --write

# The stamps stand inside .venv, so removing it is enough to start afresh. --no-deps, because the
# index of torch builds need not hold anything else; the next line brings what torch depends on.
.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "$(PYTHON) is missing or older than Python 3.11: name another, make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) install --no-deps --retries 1 --index-url $(TORCH_INDEX) $$(grep -o '^torch==[^ ]*' requirements.txt)
	$(PIP) install -r requirements.txt
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt requirements-extra.txt
	$(PIP) install -r requirements-dev.txt
	touch $@

.venv/installed-bench: .venv/installed benchmarks/requirements.txt
	$(PIP) install -r benchmarks/requirements.txt
	touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
