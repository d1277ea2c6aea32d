"""The recipes in docker/, checked without Docker: what they promise, and that what they name exists.

tools/prove_docker.sh runs them, in minutes and as root.
"""

import fnmatch
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
RECIPES = sorted(DOCKER.glob("*.Dockerfile"))
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
MOST = 15  # lines
each_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=[r.name for r in RECIPES])


def steps(recipe):
    """(instruction, rest) of every line that is not a comment."""
    lines = recipe.read_text("utf-8").replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line and not line.startswith("#")]


def values(recipe, word):
    return [rest for name, rest in steps(recipe) if name == word]


def pins(file):
    lines = [line for line in file.read_text("utf-8").splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+( ; .+)?", line) for line in lines), lines
    return dict(line.split("==") for line in lines)


def test_there_is_one_for_each_backend():
    assert [r.name for r in RECIPES] == ["cpu.Dockerfile", "cuda.Dockerfile"]


@each_recipe
def test_a_recipe_is_short(recipe):
    assert len(recipe.read_text("utf-8").splitlines()) <= MOST


@each_recipe
def test_it_starts_from_plain_python_of_a_named_version(recipe):
    (image,) = values(recipe, "FROM")
    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", image)


@each_recipe
def test_it_runs_gpuseg_and_not_as_root(recipe):
    words = [name for name, _ in steps(recipe)]
    (user,) = values(recipe, "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN")
    assert json.loads(values(recipe, "ENTRYPOINT")[0]) == ["gpuseg"]
    assert values(recipe, "STOPSIGNAL") == ["SIGINT"]


@each_recipe
def test_any_user_may_write_where_caches_and_results_go(recipe):
    settings = dict(pair.split("=", 1) for rest in values(recipe, "ENV") for pair in shlex.split(rest))
    made = [rest.split()[4:] for rest in values(recipe, "RUN") if rest.startswith("install -d -m 1777 ")]
    folders = {folder for group in made for folder in group}
    assert settings["HOME"] in folders
    assert set(values(recipe, "WORKDIR")) <= folders


@each_recipe
def test_extras_and_constraints_exist(recipe):
    text = recipe.read_text("utf-8")
    default = dict(rest.split("=") for rest in values(recipe, "ARG"))
    for number in {default.get("CUDA", "12"), "12", "13"}:
        filled = text.replace("$CUDA", number)
        assert set(re.findall(r"/src\[([\w-]+)\]", filled)) <= set(EXTRAS)
        files = re.findall(r'/src/([^\s"]+\.txt)', filled)
        assert files
        assert all((ROOT / file).is_file() for file in files), files


@each_recipe
def test_the_context_holds_what_is_installed_and_little_else(recipe):
    assert values(recipe, "COPY") == [". /src"]
    lines = [x for x in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if x[:1] not in ("#", "")]
    assert lines[0] == "*"
    let_through = [line[1:] for line in lines if line.startswith("!")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    read = re.findall(r'/src/([^\s"]+\.txt)', recipe.read_text("utf-8").replace("$CUDA", "12"))
    for needed in (
        "pyproject.toml",
        "gpuseg",
        "kernels",
        project["readme"],
        *project["license-files"],
        *read,
    ):
        assert any(fnmatch.fnmatch(needed, pattern) for pattern in let_through), needed
    assert not {"*", ".", ".git", "tests"} & set(let_through)


@pytest.mark.parametrize("number", ["12", "13"])
def test_versions_of_cuda_are_exact_and_agree_with_the_others(number):
    pinned, ours = pins(DOCKER / f"cuda{number}.txt"), pins(ROOT / "constraints.txt")
    (wanted,) = EXTRAS[f"cuda{number}"]
    name, least, most = re.fullmatch(r"([\w-]+)\[ctk\]>=([\d.]+),<(\d+)", wanted).groups()
    version = [int(part) for part in pinned[name].split(".")]
    assert [int(part) for part in least.split(".")] <= version < [int(most)]
    assert pinned["cuda-toolkit"].startswith(f"{number}.")
    assert {k: v for k, v in pinned.items() if ours.get(k, v) != v} == {}


def test_compose_reserves_a_gpu_and_has_a_service_without():
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))["services"]
    (device,) = services["gpuseg"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert services["gpuseg-cpu"]["profiles"] == ["cpu"]
    assert "deploy" not in services["gpuseg-cpu"]
    for service in services.values():
        assert service["init"] is True
        assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


@each_recipe
def test_the_proof_knows_every_instruction(recipe):
    script = (ROOT / "tools" / "prove_docker.sh").read_text("utf-8")
    known = set(re.findall(r"\b([A-Z]+)\\ \*", script))
    assert {name for name, _ in steps(recipe)} <= known


def test_the_proof_repeats_no_step():
    script = (ROOT / "tools" / "prove_docker.sh").read_text("utf-8")
    assert "pip install" not in script
    assert "ENTRYPOINT [" not in script
