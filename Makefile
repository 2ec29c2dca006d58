# Planimeter. `make` lists what can be made. PYTHON=python3.12 picks another interpreter (3.11 or newer).
SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -P -m pytest

TRAIN = cd models/bundles/ct_lungs && "$(CURDIR)/$(BIN)/python" -P -W ignore -m monai.bundle run --bundle_root . \
	--config_file configs/train.json --meta_file configs/metadata.json --logging_file False \
	--dataset_dir "$(CURDIR)/build/lung_cases"

CASE = OMP_NUM_THREADS=1 $(BIN)/python -P -W ignore -m tests.cases

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow soak fuzz lint format bench train train-pet train-ct-pet compare compare-fusion ablation learn learn-keys case-thyroid case-tumour case-brain case-lung clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: .venv/installed ## a node, a toy PACS and a synthetic chest CT, end to end; STUDY=folder takes your own images
	$(BIN)/planimeter demo $(if $(STUDY),"$(STUDY)") --out demo

test: .venv/installed-dev ## every check: lint, types, import contracts, behaviour; PLANIMETER_DATA=folder adds real images
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(PYTEST) -m "not slow" -n 3 --dist worksteal $(ARGS)  # one of three waits for a peer or a lease: two cores stay busy

test-slow: .venv/installed-dev ## the long forms: minutes of outage, thousands of mutated files
	$(PYTEST) -m slow --timeout 3600 -o faulthandler_timeout=7200 $(ARGS)

fuzz: .venv/installed-dev ## fuzz what reads bytes of strangers; N=1000000 executions, findings in build/fuzz
	OMP_NUM_THREADS=1 $(BIN)/python -P -m tests.fuzz --executions $(or $(N),200000) $(ARGS)

lint: .venv/installed-dev ## only lint, types and import contracts
	$(PYTEST) tests/test_architecture.py $(ARGS)

format: .venv/installed-dev ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/installed-dev ## reading, measuring and writing, against highdicom; the pages; then the whole way of a 300-slice CT
	$(BIN)/python -P -m tests.bench.volume
	$(BIN)/python -P -m tests.bench.segments
	$(BIN)/python -P -m tests.bench.measurements
	$(BIN)/python -P -m tests.bench.reports
	$(BIN)/python -P -m tests.bench.inference
	$(BIN)/python -P -m tests.bench.pipeline
	$(BIN)/python -P -m tests.bench.loops
	$(BIN)/python -P -m tests.bench.pages
	$(BIN)/python -P -m tests.bench.watch
	$(BIN)/python -P -m tests.bench.metrics
	$(BIN)/python -P -m tests.bench.receive
	$(BIN)/python -P -m tests.bench.age
	$(BIN)/python -P -m tests.bench.machines
	$(BIN)/python -P -m tests.bench.whole_way $(ARGS)

soak: .venv/installed-dev ## faults on purpose, thousands of times, with one oracle; ARGS="--short" in minutes, ARGS="receiver-kills" one of them
	$(BIN)/python -P -m tests.soak $(ARGS)

train: .venv/installed-dev ## train ct_lungs again from DATA=folder with the imaging data; takes hours without a GPU
	@test -d "$(DATA)" || { echo "make train: say where the unpacked imaging data is: make train DATA=folder"; exit 2; }
	$(BIN)/python -P -m node.learning.lung_cases "$(DATA)" build/lung_cases
	$(TRAIN) --epochs 16 --ckpt_dir "$(CURDIR)/build/start" --hold_out \
		"['acrin_001','cip','cptac_c3l00189','lungfcp_0001','rider_0117']"
	$(TRAIN) --epochs 40 --ckpt_dir "$(CURDIR)/build/ct_lungs" --start_from "$(CURDIR)/build/start/model.pt" $(ARGS)

train-pet: .venv/installed-dev ## train pet_sarcoma again from DATA=folder with the unpacked imaging data
	@test -d "$(DATA)" || { echo "make train-pet: say where the unpacked imaging data is: make train-pet DATA=folder"; exit 2; }
	$(BIN)/python -P -m node.learning.pet_cases "$(DATA)" build/pet_cases
	cd models/bundles/pet_sarcoma && "$(CURDIR)/$(BIN)/python" -P -W ignore -m monai.bundle run --bundle_root . \
		--config_file configs/train.json --meta_file configs/metadata.json --logging_file False \
		--dataset_dir "$(CURDIR)/build/pet_cases" --ckpt_dir "$(CURDIR)/build/pet_sarcoma" $(ARGS)

train-ct-pet: .venv/installed-dev ## train ct_pet_sarcoma again from DATA=folder with the unpacked imaging data; without STS_025
	@test -d "$(DATA)" || { echo "make train-ct-pet: say where the unpacked imaging data is: make train-ct-pet DATA=folder"; exit 2; }
	$(BIN)/python -P -m node.learning.ct_pet_cases "$(DATA)" build/ct_pet_cases
	cd models/bundles/ct_pet_sarcoma && "$(CURDIR)/$(BIN)/python" -P -W ignore -m monai.bundle run --bundle_root . \
		--config_file configs/train.json --meta_file configs/metadata.json --logging_file False --hold_out "['STS_025']" \
		--dataset_dir "$(CURDIR)/build/ct_pet_cases" --ckpt_dir "$(CURDIR)/build/ct_pet_sarcoma" $(ARGS)

compare: .venv/installed-dev ## networks, losses, optimisers side by side on the PET of DATA=folder; an hour on two cores
	@test -d "$(DATA)" || { echo "make compare: say where the unpacked imaging data is: make compare DATA=folder"; exit 2; }
	$(BIN)/python -P -m node.learning.pet_cases "$(DATA)" build/pet_cases
	OMP_NUM_THREADS=1 $(BIN)/python -P -W ignore -m models.comparison build/pet_cases build/compare $(ARGS)

ablation: .venv/installed-dev ## networks with and without made-up training cases on the PET of DATA=folder; 20 minutes of a core
	@test -d "$(DATA)" || { echo "make ablation: say where the imaging data is: make ablation DATA=folder"; exit 2; }
	$(BIN)/python -P -m node.learning.pet_cases "$(DATA)" build/pet_cases
	OMP_NUM_THREADS=1 $(BIN)/python -P -W ignore -m models.ablation build/pet_cases build/ablation $(ARGS)

compare-fusion: .venv/installed-dev ## PET alone, CT alone and both on the patients of DATA=folder; ten minutes on two cores
	@test -d "$(DATA)" || { echo "make compare-fusion: say where the unpacked imaging data is: make compare-fusion DATA=folder"; exit 2; }
	$(BIN)/python -P -m node.learning.ct_pet_cases "$(DATA)" build/ct_pet_cases
	OMP_NUM_THREADS=1 $(BIN)/python -P -W ignore -m models.comparison.fusion build/ct_pet_cases build/fusion $(ARGS)

learn: .venv/installed-dev ## the whole learning loop on the PET of DATA=folder, through the real door; 20 minutes on two cores
	@test -d "$(DATA)" || { echo "make learn: say where the imaging data is: make learn DATA=folder"; exit 2; }
	$(BIN)/python -P -m tests.learning.rehearsal --data "$(DATA)" --out build/learn $(ARGS)

learn-keys: .venv/installed-dev ## the same under four other keys, and for a champion trained on six patients
	@test -d "$(DATA)" || { echo "make learn-keys: say where the imaging data is: make learn-keys DATA=folder"; exit 2; }
	for key in 2 3 4 5; do \
		$(BIN)/python -P -m tests.learning.rehearsal --data "$(DATA)" --out build/learn-$$key --key $$key || exit 1; done
	$(BIN)/python -P -m tests.learning.rehearsal --data "$(DATA)" --out build/learn-six --champion 6
	$(BIN)/python -P -m tests.learning.page build docs

case-thyroid: .venv/installed-dev ## a 2D network on drawn ultrasound, from C-STORE to SEG and SR; writes docs/cases/thyroid.md
	$(CASE) thyroid $(ARGS)

case-tumour: .venv/installed-dev ## four MR series of DATA=folder with a drawn tumour, likewise; writes docs/cases/tumour.md
	@test -d "$(DATA)" || { echo "make case-tumour: say where the imaging data is: make case-tumour DATA=folder"; exit 2; }
	$(CASE) tumour --data "$(DATA)" $(ARGS)

case-brain: .venv/installed-dev ## FLAIR lesions of DATA=folder, and FLAIR with T1, likewise; writes docs/cases/brain.md
	@test -d "$(DATA)" || { echo "make case-brain: say where the imaging data is: make case-brain DATA=folder"; exit 2; }
	$(CASE) brain --data "$(DATA)" $(ARGS)

case-lung: .venv/installed-dev ## a detector on chests of DATA=folder with drawn balls, likewise; writes docs/cases/lung.md
	@test -d "$(DATA)" || { echo "make case-lung: say where the imaging data is: make case-lung DATA=folder"; exit 2; }
	$(CASE) lung --data "$(DATA)" $(ARGS)

clean: ## remove the environment and everything that was made
	rm -rf .venv demo build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Planimeter needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/installed: .venv/bin/python pyproject.toml
	@echo "Installing Planimeter and what it needs into .venv; torch alone has some hundred megabytes."
	$(BIN)/python -m pip install --disable-pip-version-check --editable .
	@touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[dev]'
	@touch .venv/installed $@
