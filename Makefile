# make demo   train a small GPT on a text that every Python carries, and print what it writes
# make chat   fetch a small language model (Apache-2.0, about 100 MB), put a first question to it, and let you ask more
# make test   run the tests
# make lint   check style and types
# make bench  measure training and generation speed (beside PyTorch where PEER_PYTHON has it)

PYTHON ?= python3
PEER_PYTHON ?= $(PYTHON)
CHAT_MODEL ?= smollm2-135m-instruct
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo chat test lint bench clean

demo: .venv/ready
	$(BIN)/numformer train lm --config recipes/demo.toml --out runs/demo --overwrite
	@echo
	@echo 'Now yours: $(BIN)/numformer generate runs/demo --prompt "The statement"'

# The model is fetched once. Where there is no terminal, the first question is all.
chat: .venv/ready-chat
	$(BIN)/numformer models fetch $(CHAT_MODEL)
	$(BIN)/numformer chat $(CHAT_MODEL) --prompt "Give me three facts about cats."
	@if [ -t 0 ]; then $(BIN)/numformer chat $(CHAT_MODEL); fi

# Hundreds of tests start the command: they are much faster where Python may keep what it compiled.
test: .venv/ready-dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses auto --dist worksteal

lint: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/ready
	$(BIN)/python benchmarks/train.py --peer-python $(PEER_PYTHON)
	$(BIN)/python benchmarks/generate.py --peer-python $(PEER_PYTHON)

clean:
	rm -rf .venv build src/*.egg-info

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("numformer needs Python 3.11 or newer, got " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(PIP) --editable '.[plots]'
	@touch $@

.venv/ready-chat: .venv/ready
	$(PIP) --editable '.[chat]'
	@touch $@

.venv/ready-dev: .venv/ready
	$(PIP) --editable '.[dev]'
	@touch $@
