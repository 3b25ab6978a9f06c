"""The processes of one training: what their launcher says of them, and how they meet and wait for one another.

Knows torchrun's environment and torch.distributed; knows nothing about what is trained.
"""

from __future__ import annotations

import contextlib
import ctypes
import os

from s1_utils.errors import StudyError

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def has_gpu() -> bool:
    return count_gpus() > 0


def count_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def find_rank() -> int:
    return int(os.environ.get("RANK", "0"))


def count_processes() -> int:
    """Processes of this job, as its launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def was_launched() -> bool:
    return "LOCAL_RANK" in os.environ


def keep_memory() -> None:
    """Let the C library keep what is freed instead of giving it back to the system, where that can be asked (glibc).

    On CPUs a step's gradients and activations otherwise come as new pages every time.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def require_launcher(*, shard: bool) -> None:
    """Raises StudyError where a job needs processes that nobody launched."""
    if not was_launched() and (shard or count_gpus() > 1):
        reason = "shard needs a launcher" if shard else "several GPUs are visible"
        raise StudyError(
            f"Can't train: {reason}. Run `torchrun --nproc-per-node N -m s1_utils.sft JOB`, or use one GPU, with "
            "CUDA_VISIBLE_DEVICES=0 and shard set to False."
        )


def join_processes() -> None:
    """Meet the other processes of the launcher; gloo beside NCCL, for shards in the CPU's memory."""
    if not was_launched():
        return
    import torch
    import torch.distributed as dist

    if has_gpu():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cuda:nccl,cpu:gloo" if has_gpu() else "gloo")


def leave_processes() -> None:
    import torch.distributed as dist

    if was_launched():
        dist.destroy_process_group()


def wait_for_all() -> None:
    """Until every process is here."""
    import torch.distributed as dist

    if count_processes() > 1:
        dist.barrier()


def send_to_all(found: list[str | None]) -> None:
    """Replace `found` by the first process's, in every process."""
    import torch.distributed as dist

    if count_processes() > 1:
        dist.broadcast_object_list(found, src=0)
