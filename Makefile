# A fresh machine needs two of these: make demo, make test.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test bench lint clean

demo: .venv/installed
	$(BIN)/python generate.py --wav voice2style/demo/hello.wav --outdir out/demo
	@echo "The picture is out/demo/hello.png"

test: .venv/installed-dev
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --durations=10

bench: .venv/installed-dev
	$(BIN)/python benchmark.py

lint: .venv/installed-dev
	$(BIN)/python -m ruff check .

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --upgrade pip

.venv/installed: .venv/bin/python setup.py
	@echo "Installing voice2style and what it needs (PyTorch is large; minutes) ..."
	$(BIN)/python -m pip install -q -e .
	@touch $@

.venv/installed-dev: .venv/bin/python setup.py
	@echo "Installing voice2style with the test tools (PyTorch is large; minutes) ..."
	$(BIN)/python -m pip install -q -e '.[dev]'
	@touch $@ .venv/installed

clean:
	rm -rf .venv out build dist *.egg-info
