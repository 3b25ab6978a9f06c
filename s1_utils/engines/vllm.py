"""An engine on vLLM's asynchronous core: no barrier between rows, ids in and out, a prefix cache for what is repeated.

Knows vLLM's arguments and its stream of ids; knows nothing about policies, tokenizers or text. Greedy rows are the same
in any order up to rounding. Sampled rows depend on their seed alone on a GPU; on a CPU, vLLM draws from one generator
for all of them, so a sampled run there can't be repeated id by id.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import weakref
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

from s1_utils.budget_forcing import Ids
from s1_utils.engines import Row
from s1_utils.engines.rounds import LoopThread, Request, Sampled, run_rows
from s1_utils.errors import StudyError

CHUNK = 64  # ids that arrive together where none of them can make us give the request up


def make_args(
    folder: Path | str,
    *,
    dtype: str = "auto",
    max_model_len: int | None = None,
    tensor_parallel_size: int | None = None,
    pipeline_parallel_size: int = 1,
    data_parallel_size: int = 1,
    executor: str | None = None,
    gpu_memory_utilization: float = 0.9,
    cpu_cache_gib: float = 2,
    seed: int = 0,
    concurrency: int = 256,
) -> Any:
    """vLLM's AsyncEngineArgs, without starting anything: what `VLLMEngine` takes, checked by vLLM when it starts.

    dtype auto: float32 on a CPU, bfloat16 on a GPU. `executor`: mp or ray, None for vLLM's own choice. `concurrency`:
    how many rows run at a time, over all data-parallel replicas. `tensor_parallel_size` None: `split_heads` of the GPUs
    that this process sees, over those replicas and stages.
    """
    _require_vllm()
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform

    if executor not in (None, "mp", "ray"):
        raise ValueError(f"executor must be mp, ray or None, not {executor!r}.")
    is_cpu = current_platform.is_cpu()
    if tensor_parallel_size is None:
        seen = 1 if is_cpu else current_platform.device_count()
        tensor_parallel_size = split_heads(folder, seen // (pipeline_parallel_size * data_parallel_size))
    options: dict[str, Any] = {"gpu_memory_utilization": gpu_memory_utilization}
    if is_cpu:  # small blocks, as only whole ones are shared; compiling takes longer than small runs
        options = {"kv_cache_memory_bytes": int(cpu_cache_gib * 2**30), "block_size": 32}
        options["enforce_eager"] = pipeline_parallel_size == 1  # without it, stages lack the buffers they exchange
    return AsyncEngineArgs(
        model=str(folder),
        dtype=("float32" if is_cpu else "bfloat16") if dtype == "auto" else dtype,
        max_model_len=max_model_len,
        tensor_parallel_size=tensor_parallel_size,
        pipeline_parallel_size=pipeline_parallel_size,
        data_parallel_size=data_parallel_size,
        distributed_executor_backend=executor,
        max_num_seqs=-(-concurrency // data_parallel_size),
        seed=seed,
        enable_prefix_caching=True,
        skip_tokenizer_init=True,
        generation_config="vllm",
        max_logprobs=-1,
        disable_log_stats=True,
        **options,
    )


def split_heads(folder: Path | str, devices: int) -> int:
    """Over how many of so many devices a model's layers are split: the largest power of two that divides its heads."""
    from transformers import AutoConfig

    heads = AutoConfig.from_pretrained(str(folder)).num_attention_heads
    return max(size for size in (1, 2, 4, 8, 16) if size <= max(1, devices) and heads % size == 0)


class VLLMEngine:
    """Runs rows on the model of `folder`; `options` are those of `make_args`. Close it, or use it in a `with`.

    `threads`: of a CPU's workers; one core is left for what hands them their rows.
    """

    def __init__(self, folder: Path | str, *, threads: int | None = None, **options: Any) -> None:
        with _set_environment(threads or max(1, (os.cpu_count() or 2) - 1)):
            args = make_args(folder, **options)
            self.thread = LoopThread("vllm")
            try:
                self.core: Any = self.thread.run(_start(args))
            except BaseException:
                self.thread.close()
                raise
        self.concurrency = args.max_num_seqs * args.data_parallel_size
        self.replicas = args.data_parallel_size
        self.names = itertools.count()
        from vllm.platforms import current_platform

        self.is_cpu = current_platform.is_cpu()
        self.window = self.core.model_config.max_model_len
        self.finalizer = weakref.finalize(self, _close, self.core, self.thread)  # at the latest when Python ends

    def run(self, rows: Sequence[Row]) -> list[Any]:
        """The return value of each row's policy, in order. Raises ValueError where a row is too long for the model."""
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        try:
            sessions = _Sessions(self)
            limits = {"window": self.window, "concurrency": self.concurrency}
            return self.thread.run(run_rows(rows, sessions.sample, release=sessions.close, **limits))
        except (EngineDeadError, EngineGenerateError) as error:
            raise StudyError(
                "vLLM's engine died (its own messages say why) and the rows in flight are lost: run again, what was "
                "written to the journal is kept."
            ) from error

    def close(self) -> None:
        """Stop vLLM's processes and free their memory."""
        self.finalizer()

    def __enter__(self) -> VLLMEngine:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def generate(self, prompt: Any, request: Request) -> AsyncGenerator[Any, None]:
        """vLLM's stream of outputs; `prompt` may be a stream as well."""
        rank = request.row % self.replicas if self.replicas > 1 else None  # where its prefix is cached
        return self.core.generate(prompt, self.make_params(request), f"{next(self.names)}", data_parallel_rank=rank)

    def make_params(self, request: Request) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        # vLLM's own min_tokens isn't used: it forbids every id that the model's files call an end, ours or not.
        return SamplingParams(
            max_tokens=request.max_tokens,
            stop_token_ids=list(request.stops),
            ignore_eos=True,
            logit_bias=dict.fromkeys(request.banned, -math.inf) or None,
            logprobs=request.top or None,
            temperature=request.temperature,
            seed=None if self.is_cpu or not request.temperature else request.seed,  # a seed ends the CPU's worker
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            stream_interval=1 if request.is_eager else CHUNK,
        )


class _Session:
    """One request of vLLM's that goes on: it keeps its cache, forgets the id sampled last, and takes more ids."""

    def __init__(self, engine: VLLMEngine, request: Request) -> None:
        self.engine = engine
        self.top = request.top
        self.known: Ids = ()  # what is in its cache
        self.is_idle = True
        self.inputs: asyncio.Queue[Any] = asyncio.Queue()
        self.outputs = engine.generate(self._feed(), request)

    async def _feed(self) -> AsyncGenerator[Any, None]:
        while True:
            yield await self.inputs.get()

    def can_take(self, request: Request) -> bool:
        n = len(self.known)
        return request.top == self.top and len(request.prompt_ids) > n and request.prompt_ids[:n] == self.known

    async def sample(self, request: Request) -> AsyncGenerator[Sampled, None]:
        from vllm import TokensPrompt
        from vllm.engine.protocol import StreamingInput

        prompt = TokensPrompt(prompt_token_ids=list(request.prompt_ids[len(self.known) :]))
        self.inputs.put_nowait(StreamingInput(prompt, self.engine.make_params(request)))
        self.is_idle = False
        ids = request.prompt_ids
        while not self.is_idle:
            output = await anext(self.outputs)
            new = list(_read(output))
            ids += tuple(sampled.token for sampled in new)
            if output.outputs[0].finish_reason is not None:
                self.known, self.is_idle = ids[:-1], True
            for sampled in new:
                yield sampled


class _Sessions:
    """The sessions of a run, one a row: what follows its last request goes on in it, a branch is a request apart.

    A request that is given up before its end takes its session with it.
    """

    def __init__(self, engine: VLLMEngine) -> None:
        self.engine = engine
        self.open: dict[int, _Session] = {}

    async def sample(self, request: Request) -> AsyncGenerator[Sampled, None]:
        session = self.open.pop(request.row, None)
        if session and not session.can_take(request):
            await session.outputs.aclose()
            session = None
        if session is None and request.is_branch:
            async for sampled in self._sample_apart(request):
                yield sampled
            return
        session = session or _Session(self.engine, request)
        try:
            async with aclosing(session.sample(request)) as stream:
                async for sampled in stream:
                    yield sampled
        finally:
            if session.is_idle:
                self.open[request.row] = session
            else:
                await session.outputs.aclose()

    async def _sample_apart(self, request: Request) -> AsyncGenerator[Sampled, None]:
        from vllm import TokensPrompt

        outputs = self.engine.generate(TokensPrompt(prompt_token_ids=list(request.prompt_ids)), request)
        async with aclosing(outputs):
            async for output in outputs:
                for sampled in _read(output):
                    yield sampled

    async def close(self, row: int) -> None:
        session = self.open.pop(row, None)
        if session:
            await session.outputs.aclose()


def _read(output: Any) -> Iterator[Sampled]:
    done = output.outputs[0]
    likely = done.logprobs or [{}] * len(done.token_ids)
    for token, found in zip(done.token_ids, likely, strict=True):
        yield Sampled(token, {i: each.logprob for i, each in found.items()})


async def _start(args: Any) -> Any:
    from vllm.v1.engine.async_llm import AsyncLLM

    return AsyncLLM.from_engine_args(args)


async def _stop(core: Any) -> None:
    core.shutdown()
    core.shutdown = lambda: None  # its __del__ calls it again, and may do so when Python has lost its modules


def _close(core: Any, thread: LoopThread) -> None:
    thread.run(_stop(core))
    thread.close()


def _require_vllm() -> None:
    from importlib.util import find_spec

    if find_spec("vllm") is None:
        raise StudyError(
            "vllm isn't installed: use the environment of environment.yml on a GPU node, that of `make test-vllm` on a "
            "CPU, or the transformers engine."
        )


@contextmanager
def _set_environment(threads: int) -> Iterator[None]:
    """What vLLM reads from the environment when it starts, where the user hasn't set it.

    More threads than free cores stall a CPU's workers, and they can't be bound to cores everywhere.
    """
    wanted = {
        "OMP_NUM_THREADS": str(threads),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_LOGGING_LEVEL": "ERROR",
    }
    missing = [name for name in wanted if name not in os.environ]
    os.environ.update({name: wanted[name] for name in missing})
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)
