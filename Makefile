# On a fresh machine with Python >= 3.11, venv and make: `make demo` runs the main job, `make test` the tests.
# Each sets up .venv from pinned versions on its own (Testing/constraints.txt).
PYTHON ?= python3
VENV   ?= .venv
OUTPUT ?= output/demo
PY      = $(VENV)/bin/python
PIP     = $(PY) -m pip install --quiet --disable-pip-version-check -c Testing/constraints.txt
ALONE   = CAMOverlay/Resources/requirements-alone.txt
PINS    = pyproject.toml CAMOverlay/Resources/requirements.txt $(ALONE) Testing/constraints.txt

.PHONY: demo check test campaign proof fuzz test-bundles desk screenshot bench bench-localisation bench-cohort test-cohort-faults trust-card look-at-report look-at-cohort demo-bundle clean

demo: $(VENV)/.core
	$(VENV)/bin/cam-overlay demo --output $(OUTPUT)

# The gate: format, linter, types (of contract and worker), and the tests that are quick.
QUICK = $(addprefix Testing/Python/,test_borders.py test_options.py test_request.py test_rooms.py test_run_controller.py test_bounded.py test_peaks.py engine/test_inverse.py)
check: $(VENV)/.check
	$(VENV)/bin/ruff format --check --quiet .
	$(VENV)/bin/ruff check --quiet .
	$(VENV)/bin/mypy
	$(PY) -m pytest -k "not monai_issue and not same_mistake" $(QUICK)

# Every group of tests, each in a process of its own; the last line counts them all. Random cases are the same every time.
test: $(VENV)/.test
	$(PY) Testing/run_tests.py

# The tests that draw random cases, with other ones: CAMPAIGN times as many as in `make test`; a failure prints how to repeat it.
CAMPAIGN ?= 20
campaign: $(VENV)/.test
	CAMPAIGN=$(CAMPAIGN) $(PY) Testing/run_tests.py

# How far the test of alignment sees: misplacements named, open and called verified, the smallest ones noticed on each
# volume, false alarms. Fails if anything is called verified beyond its stated bound. PROOF=--quick takes two minutes.
proof: $(VENV)/.train
	$(PY) Testing/Benchmarks/proof.py --jobs 2 $(PROOF)

# Damaged and malicious input through every door; prints seeds, and fails on a finding. FUZZ="--cases 50000 --seed 1"
fuzz: $(VENV)/.test
	$(PY) Testing/Fuzz/run.py --jobs 2 $(FUZZ)

# What `make test` leaves out because it is slow, and others of its kind are in it; and the three bundles of ../shared/bundles, unmodified but for random weights, on the volumes of ../shared/data: half an hour.
test-bundles: $(VENV)/.test
	$(PY) -m pytest -m slow -s Testing/Python --ignore=Testing/Python/panel --ignore=Testing/Python/slicerhost
	$(PY) -m pytest -m slow -s Testing/Python/panel

# The module's panel beside slice views, without 3D Slicer: on a screen, or off-screen as a picture
# (make screenshot OUTPUT=file.png; DESK="--dark --scale 2" for the dark theme at 200 %).
desk: $(VENV)/.test
	PYTHONPATH=Testing:CAMOverlay $(PY) -m SlicerHost $(DESK) desk

screenshot: $(VENV)/.test
	PYTHONPATH=Testing:CAMOverlay $(PY) -m SlicerHost $(DESK) screenshot $(if $(filter %.png,$(OUTPUT)),$(OUTPUT),output/panel.png)

# Time and memory side by side with the peers, some minutes; the table goes to output/bench.json as well.
bench: $(VENV)/.test
	$(PY) Testing/Benchmarks/bench.py

# How sharp every method's maps are and whether they hit lesions at known places, on networks trained on the spot: some
# minutes; the figures go to output/localisation.json as well. LOCALISATION=--choose shows what the recipe was chosen from.
bench-localisation: $(VENV)/.train
	$(PY) Testing/Benchmarks/localisation.py $(LOCALISATION)

# Many volumes: how many a minute, beside a loop over the command and a plain MONAI script. BENCH_COHORT="--long 512"
bench-cohort: $(VENV)/.test
	$(PY) Testing/Cohort/bench.py $(BENCH_COHORT)

# SIGKILL for the workers, the scheduler and the command of a cohort in turn, 20 times; most of an hour.
test-cohort-faults: $(VENV)/.test
	$(PY) Testing/Cohort/faults.py $(FAULTS)

# What the trust card says of a trained network, random weights, shuffled labels and an edge detector on 12 volumes: some minutes.
trust-card: $(VENV)/.train
	$(PY) Testing/Benchmarks/trust_card.py

# The report of the demo in a headless Chromium at two widths, light and dark, with the viewer scrolled; fails where it
# asks the network for anything. It takes the system's Chromium, or one that `playwright install chromium` fetched.
look-at-report: $(VENV)/.browser
	$(VENV)/bin/cam-overlay demo --output $(OUTPUT)
	$(PY) Testing/Browser/look_at_report.py $(OUTPUT)/report.html --pictures output/report

# The page of a cohort in the same way: make look-at-cohort COHORT=folder/cohort.html
COHORT ?= output/cohort/cohort.html
look-at-cohort: $(VENV)/.browser
	$(PY) Testing/Browser/look_at_cohort.py $(COHORT) --pictures output/cohort-page

# Trains the demo bundle anew (deterministic, a few minutes on two cores) and writes it into the module.
demo-bundle: $(VENV)/.train
	$(PY) Testing/Benchmarks/train_demo_bundle.py

$(VENV)/.core: $(PINS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is %d.%d: make PYTHON=python3.12" % sys.version_info[:2])'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[core]'
	$(PIP) --no-deps -r $(ALONE)
	touch $@

$(VENV)/.test: $(VENV)/.core
	$(PIP) -e '.[core,test]'
	touch $@

$(VENV)/.check: $(VENV)/.test
	$(PIP) -e '.[core,test,check]'
	touch $@

$(VENV)/.train: $(VENV)/.test
	$(PIP) -e '.[core,test,train]'
	touch $@

$(VENV)/.browser: $(VENV)/.core
	$(PIP) -e '.[core,viewer,browser]'
	touch $@

clean:
	rm -rf $(VENV) output build
