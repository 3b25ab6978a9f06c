"""How much memory training really takes: a few steps of a random model in a child process, its peak read.

Knows a plain training loop with the losses and the optimiser that sft uses; knows nothing about plans, and no data.
On a CPU the peak is the child's VmHWM (resident pages) less what was resident before the model was built. A tiny
model is trained first, so that libraries' code, threads and buffers belong to the baseline. glibc gives freed tensors
back at once (MALLOC_MMAP_THRESHOLD_, fixed: no heap to fragment): what stays is what is alive. getrusage won't do:
ru_maxrss of a child begins at its parent's. On a GPU the peak is torch's count of allocated bytes.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Any

from s1_utils import memory
from s1_utils.errors import StudyError

TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 512}
TINY |= {"num_attention_heads": 4, "num_key_value_heads": 2}
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "1"}


def measure_peak(facts: dict[str, Any], setup: memory.Setup, *, steps: int = 3) -> float:
    """GB that training a random model takes at its peak, on one device, in a process of its own.

    `facts` are a config's, model_type included. Raises StudyError for what isn't measured (several devices, other
    optimisers, Liger, offload, accumulation, packed rows) and if the child fails, with its last words.
    """
    alone = replace(setup, devices=1, optimiser="adamw", liger=False, offload=False, accumulate=False, pack=False)
    if setup != alone:
        raise StudyError("Only plain AdamW on one device is measured: leave liger, offload, accumulate and pack off.")
    asked = json.dumps({"facts": facts, "setup": asdict(setup), "steps": steps})
    command = [sys.executable, "-m", "s1_utils.memory_check", asked]
    done = subprocess.run(command, env=os.environ | MALLOC, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or f"ended with {done.returncode}, perhaps out of memory").splitlines()[-1]
        raise StudyError(f"The measured training failed: {last}. Try a smaller model or shorter rows.")
    return float(done.stdout.splitlines()[-1])


def train_steps(facts: dict[str, Any], setup: memory.Setup, *, steps: int) -> None:
    """Train a random model on random rows; one of several is padded, so that there is a mask, unless flash is asked."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    device, dtype = "cpu" if setup.cpu else "cuda", {"fp32": torch.float32, "bf16": torch.bfloat16}
    kind = "eager" if setup.attention == "eager" else "sdpa"
    config = AutoConfig.for_model(**facts, attn_implementation=kind, use_cache=False)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype[setup.master]).to(device).train()
    if setup.recompute:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if setup.fused_loss:
        from trl.trainer.utils import add_fused_lm_head

        add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    seen = torch.ones(setup.device_batch, setup.tokens, dtype=torch.long, device=device)
    seen[0, -1] = int(setup.device_batch == 1 or setup.attention == "flash")
    ids = torch.randint(0, config.vocab_size, seen.shape, device=device)
    fused = {"fused_lm_head": True} if setup.fused_loss else {}
    for _ in range(steps):
        with torch.autocast(device, dtype[setup.dtype], enabled=setup.dtype == "bf16"):
            loss = model(input_ids=ids, attention_mask=seen, labels=ids, **fused).loss
        loss.backward()
        del loss
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()


def measure_here(facts: dict[str, Any], setup: memory.Setup, *, steps: int) -> float:
    """GB at the peak of `train_steps` in this process, above what was in use before it."""
    import torch

    if not setup.cpu:
        torch.cuda.reset_peak_memory_stats()
        train_steps(facts, setup, steps=steps)
        return torch.cuda.max_memory_allocated() / memory.GB
    torch.set_num_threads(1)
    tiny = {**facts, **TINY}
    train_steps({name: tiny[name] for name in tiny if name != "head_dim"}, setup, steps=1)
    gc.collect()
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew; where that is refused it is the tiny model's, far below the other
    before = _read_status("VmRSS")
    train_steps(facts, setup, steps=steps)
    return (_read_status("VmHWM") - before) / memory.GB


def _read_status(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(f"{name}:"))


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(measure_here(asked["facts"], memory.Setup(**asked["setup"]), steps=asked["steps"]))
