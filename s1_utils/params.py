"""The strict reader of a notebook's parameters cell; one frozen model per notebook.

Papermill only warns about a misspelt parameter and hands on YAML's `1e-5` as a string; this reader refuses the first
and converts the second. Knows names, types and bounds, and the YAML of a profile; knows no stage and no engine.
"""

from __future__ import annotations

import ast
import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from s1_utils import paths
from s1_utils.errors import StudyError

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Engine = Annotated[str, Field(pattern=r"^(transformers|vllm|https?://\S+)$")]  # of generation.load_writer
Prices = Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=2, max_length=2)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^([A-Za-z0-9_-][A-Za-z0-9._-]*)?$")]
Revision = Annotated[str, Field(pattern=r"^[^@\s]+@\S+$")]

UNKEYED = {"profile", "run_name", "force"}
SPREAD = {"processes", "device_batch", "pack", "shard", "offload", "recompute", "report_to"}  # the last digits only


class StageParams(BaseModel):
    """What every notebook takes: where it writes, whether it may rebuild, and the seed of the run."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    notebook: str = Field(default="", exclude=True)
    profile: Name = "laptop"
    run_name: Name = ""
    force: bool = False
    seed: Count = 1

    def result_params(self) -> dict[str, Any]:
        """The parameters that a result depends on."""
        return self.model_dump(mode="json", exclude=UNKEYED)

    def find_run(self) -> str:
        """The run this belongs to: run_name, else the profile if nothing was changed, else a name of its own."""
        if self.run_name:
            return self.run_name
        if self.result_params() == load_profile(type(self), self.profile).result_params():
            return self.profile
        from s1_utils.store import hash_json

        return f"{self.profile}-{hash_json(self.result_params())[:8]}"


class CollectParams(StageParams):
    notebook: str = Field(default="01_collect", exclude=True)
    model: str = "smollm2-135m-instruct"
    system_prompt: str = "Think, then answer."
    instruction: str = " Answer with the name only."
    sources: list[str] = ["puzzles", "champ"]
    benchmarks: list[str] = []
    mirror: str = ""
    revisions: list[Revision] = []
    aime_until: Count = 2021
    questions_per_family: Positive = 1600
    dev_questions: Positive = 100
    test_questions: Positive = 320
    overlap_policy: Literal["audited", "s1"] = "audited"
    ngram: Positive = 8
    run_letters: Annotated[int, Field(ge=23)] = 24
    boilerplate: Count = 10
    near_duplicate: Annotated[float, Field(gt=0, le=1)] = 0.7
    give_up: Share = 0.6
    slip: Share = 0.02
    check: Share = 0.4
    teacher: str = ""
    teacher_model: str = ""
    teacher_usd: Prices = [0.0, 0.0]
    judge: str = ""
    judge_usd: Prices = [0.0, 0.0]
    max_usd: Annotated[float, Field(ge=0)] = 0.0


class FilterParams(StageParams):
    notebook: str = Field(default="02_filter", exclude=True)
    quality: Literal["audited", "paper"] = "audited"
    max_train_tokens: Positive = 256
    length_tokenizer: Literal["", "qwen2.5"] = ""
    pool_size: Positive = 720
    solvers: list[str] = ["direct", "worked"]
    askings: Positive = 3
    worked_examples: Positive = 2
    solver_tokens: Positive = 32
    solver_temperature: Annotated[float, Field(ge=0)] = 0.05
    domains: str = "source"
    labels: str = ""
    mirror: str = ""
    judge: str = ""
    judge_usd: Prices = [0.0, 0.0]
    max_usd: Annotated[float, Field(ge=0)] = 0.0
    rule: Literal["algorithm_1", "notebook_700_300"] = "algorithm_1"
    subset_size: Positive = 600
    subsets: list[str] = ["s1K", "random", "diverse", "longest", "full"]
    stability_seeds: Annotated[int, Field(ge=2)] = 100
    stability_size: Positive = 72
    group_size: Positive = 64


class TrainingParams(StageParams):
    """How a model is trained, and how that is spread over devices."""

    epochs: Positive = 1
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    warmup: Share = 0.05
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    adam_beta2: Share = 0.95
    optimiser: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = "adamw"  # memory.OPTIMISERS
    batch_size: Positive = 2
    max_length: Positive = 256
    checkpoint_steps: Positive = 25
    processes: Positive = 1
    device_batch: Count = 0
    pack: bool = True
    shard: bool = False
    offload: bool = False
    recompute: bool = False
    report_to: Annotated[str, Field(pattern=r"^[a-z_]+$")] = "trackio"

    def result_params(self) -> dict[str, Any]:
        """Without the machine: a run may go on with more devices, and is the same run."""
        return {name: value for name, value in super().result_params().items() if name not in SPREAD}

    @model_validator(mode="after")
    def _check_spread(self) -> Self:
        if self.offload and not self.shard:
            raise ValueError("offload moves a sharded model's shards to the CPU: set shard to True as well")
        if self.shard and self.optimiser != "adamw":
            raise ValueError("8-bit optimisers can't update shards: set optimiser to adamw, or shard to False")
        return self


class SftParams(TrainingParams):
    notebook: str = Field(default="03_sft", exclude=True)
    subset: str = "s1K"
    kind: Literal["s1", "think", "r1", "tokens", "steps"] = "s1"  # of training_text


class SequentialParams(StageParams):
    notebook: str = Field(default="04_sequential_scaling", exclude=True)
    engine: Engine = "transformers"
    benchmark: str = "held-out"
    mirror: str = ""
    revisions: list[Revision] = []
    split: str = "test"
    questions: Positive = 320
    budgets: list[Count] = [0, 8, 16, 32, 64, 96]
    base_budgets: list[Count] = [0, 16, 32, 64]
    waits: list[Count] = [0, 1, 2, 4]
    wait_text: str = " Wait,"
    soft_extra: Positive = 24
    soft_rank: Positive = 3
    method_questions: Positive = 96
    method_budgets: list[Positive] = [16, 32, 64]
    strings: list[str] = [" Alternatively,", " Hmm,", "<none>"]
    max_tries: Positive = 8
    max_thinking: Positive = 144
    max_answer_tokens: Positive = 8
    group_size: Positive = 64
    resamples: Positive = 10000

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.wait_text and any(self.waits):
            raise ValueError("wait_text must not be empty when waits are asked for")
        if not self.budgets or not self.base_budgets or not self.method_budgets:
            raise ValueError("budgets, base_budgets and method_budgets need at least one number each")
        return self


class ParallelParams(StageParams):
    notebook: str = Field(default="05_parallel_scaling", exclude=True)
    engine: Engine = "transformers"
    questions: Positive = 100
    samples: Positive = 8
    budgets: list[Positive] = [16, 32, 64]
    temperature: Annotated[float, Field(gt=0)] = 1.0
    reward_model: str = ""
    reward_step_end: str = "\n\n"
    reward_words: list[str] = []
    verifier_questions: Positive = 300
    step_delimiter: Annotated[str, Field(min_length=1)] = "."
    search_width: Count = 0
    search_temperature: Annotated[float, Field(gt=0)] = 0.2
    search_questions: Positive = 40
    wait_text: str = " Wait,"
    max_thinking: Positive = 144
    max_answer_tokens: Positive = 8
    group_size: Positive = 96
    resamples: Positive = 10000

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(budget > self.max_thinking for budget in self.budgets):
            raise ValueError("budgets must lie within max_thinking: the samples are cut or forced to them in one pass")
        if self.search_width and not self.reward_model:
            raise ValueError("search_width needs a reward_model, such as verifier, to steer the search")
        return self


class AblationParams(TrainingParams):
    notebook: str = Field(default="06_ablations", exclude=True)
    engine: Engine = "transformers"
    subsets: list[str] = ["s1K", "random", "diverse", "longest", "full"]
    rule: Literal["algorithm_1", "notebook_700_300"] = "algorithm_1"
    subset_size: Positive = 72
    match: Literal["questions", "tokens"] = "questions"
    full_factor: Positive = 3
    seeds: list[Count] = [0]
    reselect: bool = False
    train_lengths: list[Positive] = [126]
    kinds: list[Literal["tokens", "steps"]] = []
    ask_tokens: list[Positive] = [16, 32, 64, 128]
    ask_steps: list[Positive] = [1, 2, 4, 8]
    benchmark: str = "held-out"
    mirror: str = ""
    revisions: list[Revision] = []
    split: str = "test"
    questions: Positive = 128
    budget: Positive = 64
    max_thinking: Positive = 144
    wait_text: str = " Wait,"
    max_answer_tokens: Positive = 8
    group_size: Positive = 64
    resamples: Positive = 10000


class FigureParams(StageParams):
    notebook: str = Field(default="07_figures", exclude=True)


MODELS: tuple[type[StageParams], ...] = (
    CollectParams,
    FilterParams,
    SftParams,
    SequentialParams,
    ParallelParams,
    AblationParams,
    FigureParams,
)
P = TypeVar("P", bound=StageParams)


# ------------------------------------------------------------------ reading


def read_params(model: type[P], namespace: dict[str, Any]) -> P:
    """The parameters of a running notebook, from its `globals()`.

    Raises StudyError for a name that `model` doesn't have (with the nearest one) and for a wrong type or value.
    """
    names = _find_assigned(namespace.get("In", []))
    return validate_params(model, {name: namespace[name] for name in names if name in namespace})


def validate_params(model: type[P], values: dict[str, Any]) -> P:
    """`values` as a `model`; raises StudyError naming every unknown or wrong parameter."""
    known = [name for name in model.model_fields if name != "notebook"]
    problems = []
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            problems.append(f"unknown parameter {name!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    if not problems:
        try:
            return model(**values)
        except ValidationError as error:
            problems = [_explain(item, values) for item in error.errors()]
    raise StudyError(f"{model.model_fields['notebook'].default}: {'; '.join(problems)}.")


def _explain(item: Any, values: dict[str, Any]) -> str:
    if not item["loc"]:
        return str(item["msg"]).removeprefix("Value error, ")
    name = str(item["loc"][0])
    return f"parameter {name} = {values.get(name)!r}: {item['msg'].lower()}"


def _find_assigned(cells: list[str]) -> list[str]:
    """Names assigned in the cells that papermill or the notebook marks as parameters."""
    names: dict[str, None] = {}
    for cell in cells:
        if cell.lstrip().startswith("# Parameters"):
            for node in ast.parse(cell).body:
                targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
                names.update({target.id: None for target in targets if isinstance(target, ast.Name)})
    return list(names)


def find_profiles() -> list[str]:
    return sorted(folder.name for folder in paths.PARAMS.iterdir() if any(folder.glob("0*.yaml")))


def find_yaml(model: type[StageParams], profile: str, variant: str = "") -> Path:
    """The YAML of one notebook in one profile; raises StudyError for a profile that doesn't exist."""
    name = ".".join(part for part in (model.model_fields["notebook"].default, variant) if part)
    path = paths.PARAMS / profile / f"{name}.yaml"
    if not path.exists():
        raise StudyError(f"No {path.relative_to(paths.ROOT)}: profiles are {', '.join(find_profiles())}.")
    return path


def load_profile(model: type[P], profile: str, variant: str = "") -> P:
    """The parameters of `model`'s notebook as a profile's YAML gives them."""
    path = find_yaml(model, profile, variant)
    return validate_params(model, yaml.safe_load(path.read_text("utf-8")) or {})
