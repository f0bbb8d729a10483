# hyperlab: `make lab` opens the course, `make test` checks that everything works.
#
#   make lab LAB_ARGS="--no-browser --port=9000"      options for JupyterLab
#   make app APP_ARGS="--no-browser --port 9000"      options of data_scripts/serve_stepper.py
#   make test TEST_ARGS="-k solvers"                  options for pytest
#   make book BOOK_ARGS="--scale smoke --only 01"     options for the book
#   make lab PYTHON=python3.12                        which Python .venv is made of

PYTHON ?= python3
EXTRAS := .[notebooks,test,bench]
NEED_GB := 8
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
INSTALL := -m pip install --disable-pip-version-check
NBSTRIP := -m nbstripout --keep-id --extra-keys "metadata.papermill cell.metadata.papermill metadata.language_info.version"
LAB_SETTINGS := JUPYTER_CONFIG_PATH="$(CURDIR)/notebooks/.jupyter$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}"
BROWSER = { $(PY) -m pytest -n 2 --dist loadgroup -m "browser and not alone" $(TEST_ARGS) || test $$? -eq 5; } && \
	{ $(PY) -m pytest -m "browser and alone" $(TEST_ARGS) || test $$? -eq 5; }
SUPERUSER := $(if $(filter 0,$(shell id -u)),--allow-root)

# Installed again when the folder has moved; made anew when PYTHON= names another version.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
$(STAMP): FORCE
endif
ifneq ($(filter command environment,$(origin PYTHON)),)
VERSION := -c 'import sys; print("%d.%d" % sys.version_info[:2])'
ifneq ($(shell "$(PYTHON)" $(VERSION) 2>/dev/null),$(shell $(PY) $(VERSION) 2>/dev/null))
$(STAMP): FORCE
OTHER := yes
endif
endif

.DEFAULT_GOAL := help
.PHONY: help install lab app test notebooks book exercises browser bench figures lint format constraints clean distclean FORCE

help:  ## this list
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | awk -F '\t' '{printf "make %-12s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null || { echo "hyperlab: no $(PYTHON) here; install Python 3.11 or newer, or name one: make lab PYTHON=/path/to/python3"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "hyperlab needs Python 3.11 or newer; $(PYTHON) is $$("$(PYTHON)" -V 2>&1 | cut -d" " -f2). Name another: make lab PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c 'import os, shutil, sys; free = shutil.disk_usage(".").free // 10**9; sys.exit(0 if os.path.exists("$(PY)") or free >= $(NEED_GB) else "hyperlab: the packages need about $(NEED_GB) GB of disk (PyTorch brings its CUDA libraries), here are %d GB. Make room, or move this folder to a larger disk." % free)'
	@echo "hyperlab: installing into $(VENV); the first time takes some minutes"
	@{ test -z "$(OTHER)" && $(PY) -m pip --version >/dev/null 2>&1; } || "$(PYTHON)" -m venv --clear $(VENV) || { echo "hyperlab: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(PY) $(INSTALL) -c constraints.txt -e "$(EXTRAS)"
	@# umap compiles itself when it is first used: 20 s for which no notebook shall wait.
	@$(PY) -c "import torch; from hyperlab.views import projection; projection.embed({'points': torch.rand(99, 9)})"
	@printf '%s' "$(CURDIR)" > $(STAMP)
	@echo "hyperlab: ready"

install: $(STAMP)  ## make .venv and install everything, nothing else

lab: $(STAMP)  ## open JupyterLab on the course; LAB_ARGS= for its options
	@echo "hyperlab: JupyterLab prints its address, token included, below; Ctrl-C stops it"
	@$(LAB_SETTINGS) $(PY) -m jupyter lab --ServerApp.root_dir="$(CURDIR)" --ContentsManager.preferred_dir=notebooks $(SUPERUSER) $(LAB_ARGS)

app: $(STAMP)  ## serve the Euler stepper as a page of its own; APP_ARGS= for its options
	@$(PY) data_scripts/serve_stepper.py $(APP_ARGS)

test: lint  ## lint, unit tests and notebooks with a worker a core, then the browser; TEST_ARGS= for pytest
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses 4 --dist loadgroup -m "not browser" $(TEST_ARGS) || test $$? -eq 5
	@$(BROWSER)

notebooks: $(STAMP)  ## run the course at scale=smoke, write artifacts/notebooks/index.html
	@$(PY) data_scripts/run_notebooks.py --scale smoke

book: $(STAMP)  ## the executed course as a static site, artifacts/book/index.html; BOOK_ARGS=
	@$(PY) data_scripts/build_book.py $(BOOK_ARGS)

exercises: $(STAMP)  ## write exercises/: the course without its solutions, to work in
	@$(PY) data_scripts/write_exercises.py

browser: $(STAMP)  ## drive the widgets in a real browser
	@$(BROWSER)

bench: $(STAMP)  ## measure speed and memory here, write artifacts/bench_*.json
	@set -e; for script in data_scripts/bench_*.py; do echo "$$script"; $(PY) "$$script" --out "artifacts/$$(basename $$script .py).json"; done

figures: $(STAMP)  ## draw the README's picture again: results/stepper.gif, .png and .json
	@$(PY) data_scripts/draw_figures.py

lint: $(STAMP)  ## ruff check and format check
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

format: $(STAMP)  ## ruff's fixes and format; strip the notebooks' outputs
	@$(PY) -m ruff check --fix --exit-zero --quiet .
	@$(PY) -m ruff format .
	@$(PY) $(NBSTRIP) notebooks/*.ipynb

constraints: FORCE  ## newest versions within pyproject's bounds, written to constraints.txt
	@"$(PYTHON)" -m venv --clear build/newest
	@build/newest/bin/python $(INSTALL) -e ".[notebooks,test,bench,cluster]"
	@{ head -n 1 constraints.txt; build/newest/bin/python -m pip freeze --all --exclude-editable | grep -v '^pip=='; } > build/constraints.txt
	@mv build/constraints.txt constraints.txt

clean:  ## remove caches, builds, the book and the executed notebooks (not .venv, not your artefacts)
	@rm -rf artifacts/notebooks artifacts/book artifacts/book_kept artifacts/browser build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find hyperlab tests data_scripts notebooks \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

distclean: clean  ## clean, and .venv too
	@rm -rf $(VENV)
