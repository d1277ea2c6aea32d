"""What runs on a card is rehearsed here: the benchmarks on the stand-in, the script with stubs."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import measure
from benchmarks import tables as all_tables
from benchmarks.gpu import card, check, clock, cost, peers, rows, run, stage, tables, targets
from benchmarks.gpu.size import Size
from benchmarks.targets import by_case
from gpuseg.backends import get_backend
from gpuseg.backends._kernels import FILES

ROOT = Path(__file__).parents[2]
TOY = Size(
    flat=(48,),
    deep=(16,),
    side=48,
    cube=16,
    view=48,
    file_side=64,
    labelled=60,
    stroke=10,
    trees=3,
    rounds=2,
    limit_mb=1,
    limit_steps=8,
)
LIMITS = {"copy": 100.0, "fma": 1000.0, "shared": 400.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("card")


@pytest.fixture
def result(host_cuda, folder):
    """All sections, measured once for all tests."""
    if not (saved := list(folder.glob("*.json"))):
        return run.measure(host_cuda, list(run.SECTIONS), TOY, folder)
    return json.loads(saved[0].read_text())


def test_every_section_runs_and_its_rows_are_complete(result, folder):
    assert result["failed"] == []
    assert result["sections"] == list(run.SECTIONS)
    for row in result["rows"]:
        assert row["n"] >= 2
        assert 0 < row["min_s"] <= row["median_s"] <= row["max_s"]
        assert row["note"] or row["section"] == "files", row["case"]
    kernels = {r["engine"] for r in result["rows"] if r["launches"]}
    skipped = {s["engine"] for s in result["skipped"]}
    never = {f"{k}<Narrow>" for k in ("walk_planes", "classify2d")}  # a toy's forest fits in codes
    assert kernels | skipped | never >= set(FILES)
    for row in (r for r in result["rows"] if r["launches"]):
        assert row["bytes"], row["case"]
        assert row["of_limit"] > 0, row["case"]

    [saved] = folder.glob("*.json")
    assert saved.name.endswith("-Host-shim.json")
    assert json.loads(saved.read_text())["rows"] == result["rows"]
    page = (folder / "table.md").read_text()
    assert all(r["case"] in page for r in result["rows"])
    assert "not measured, cuCIM is not importable" in page


def test_every_target_has_its_row(result):
    """All but those beside packages that are not here; of the sizes the targets name none was measured."""
    found = by_case(r | {"data": "4096 x 4096, 512 x 512 x 512, view of 2048 x 2048, 49 planes, 100 trees"}
                    for r in result["rows"])  # fmt: skip
    missing = [t.claim for t in targets.TARGETS if t.verdict(found)[0] is None]
    unmeasured = ("0.1 ms", "cuCIM", *(s["case"] for s in result["skipped"] if s["section"] == "files"))
    assert [c for c in missing if not any(word in c for word in unmeasured)] == []
    small = [t for t in targets.TARGETS if t.verdict(by_case(result["rows"]))[0] is not None]
    assert not [t.claim for t in small if t.unit == "ms"]


def test_a_section_that_fails_loses_nothing_else(host_cuda, tmp_path, monkeypatch):
    def breaks(cupy, backend, size):
        yield rows.Row("flat", "first", "data", [1.0])
        raise check.WrongAnswer("planes differ")

    monkeypatch.setattr(run, "SECTIONS", {"flat": breaks, "deep": lambda *_: iter(())})
    result = run.measure(host_cuda, ["flat", "deep"], TOY, tmp_path)
    assert result["failed"] == [{"section": "flat", "error": "WrongAnswer: planes differ"}]
    assert result["sections"] == ["deep"]
    assert [r["case"] for r in result["rows"]] == ["first"]


def test_main_says_by_its_exit_code_that_a_section_failed(host_cuda, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "QUICK", TOY)
    monkeypatch.setattr(run, "SECTIONS", {"flat": lambda *_: iter(()), "deep": lambda *_: 1 / 0})
    assert run.main(["--quick", "--out", str(tmp_path), "--only", "flat"]) == 0
    assert run.main(["--quick", "--out", str(tmp_path), "--only", "deep"]) == 1
    assert "a rehearsal" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize(("flaw", "beside"), [(1e-4, "the CPU's"), (1e-2, "its formula")])
def test_wrong_planes_are_not_timed(host_cuda, flaw, beside):
    s = stage.flat(host_cuda, get_backend("cuda"), "texture", 48, TOY)
    planes = s.fill(s.empty())
    planes[3] = planes[3] + np.float32(flaw)
    with pytest.raises(check.WrongAnswer, match=rf"differs? from {beside}"):
        check.planes(s, planes)


def test_wrong_probabilities_are_not_timed(host_cuda):
    s = stage.flat(host_cuda, get_backend("cuda"), "texture", 48, TOY)
    with pytest.raises(check.WrongAnswer, match=r"6912 of 6912 pixels have other probabilities"):
        check.proba(s, s.proba() + np.float32(0.01))


def test_shares_are_of_the_measured_limits():
    row = rows.Row("kernels", "x", "y", [1.0, 2.0, 4.0], cost=rows.Cost(100e9, 1000e9, 80e9)).as_json(LIMITS)
    assert (row["median_s"], row["of_copy_bandwidth"], row["of_fma_rate"]) == (2.0, 0.5, 0.5)
    assert (row["of_shared_bandwidth"], row["bound"], row["of_limit"]) == (0.1, "copy", 0.5)


def test_launches_are_watched_by_name_and_only_inside(host_cuda):
    b = get_backend("cuda")
    plane = b.asarray(np.ones((8, 8), np.float32))
    with clock.watched(host_cuda) as watch:
        b.gaussian(plane, (1.0, 1.0))
        seconds, launches = watch.take()
        assert set(seconds) == set(launches) == {"smooth_across", "smooth_along"}
        assert watch.take() == ({}, {})
    b.gaussian(plane, (1.0, 1.0))
    assert watch.marks == []


def test_visits_count_every_node_on_the_way(host_cuda):
    s = stage.flat(host_cuda, get_backend("cuda"), "texture", 48, TOY)
    forest, samples = s.forest, np.random.default_rng(0).random((20, s.scene.planes)).astype(np.float32) * 255
    expected = 0
    for row in samples:
        for node in forest.roots:
            expected += 1
            while forest.feature[node] >= 0:
                below = row[forest.feature[node]] < forest.threshold[node]
                node = forest.left[node] + (not below)
                expected += 1
    assert stage.visits(forest, samples) == expected / len(samples)


def test_costs_add_up_to_those_of_the_whole_bank(host_cuda):
    """Smoothing and filters together are the operations that the CPU's benchmark counts."""
    s = stage.flat(host_cuda, get_backend("cuda"), "texture", 48, TOY)
    parts = [cost.of(name, s, 0.0) for name in ("smooth_across", "smooth_along", "filters2d")]
    assert sum(p.operations for p in parts) == s.scene.flops
    assert parts[2].bytes == 4 * s.scene.pixels * (len(s.scene.jobs) + s.scene.planes)
    assert cost.of("unheard_of", s, 0.0) is None


def test_limits_are_measured_once_each(host_cuda):
    found = card.limits(host_cuda, replace(TOY, limit_mb=1))
    assert set(found) == {
        *("copy", "fma", "shared", "to the device", "to the host"),
        *("to the device from pageable memory", "to the host into pageable memory"),
    }
    assert min(found.values()) > 0


def test_peers_are_timed_where_they_are_importable(host_cuda, monkeypatch):
    """With stand-ins for their packages: what is imported and how they are called cannot be seen here."""

    def features(image, **options):
        return host_cuda.stack([image] * 4 * options["num_sigma"], -1)

    class Forest:
        def __init__(self, *_, **more): ...

        def fit(self, rows, labels):
            return self

        def predict_proba(self, pixels):
            return host_cuda.asarray(np.full((len(pixels), 3), 1 / 3, np.float32))

    modules = {
        "cucim.skimage.feature": SimpleNamespace(multiscale_basic_features=features),
        "nvforest": SimpleNamespace(load_from_sklearn=Forest),
        "cuml.ensemble.randomforestclassifier": SimpleNamespace(RandomForestClassifier=Forest),
    }
    monkeypatch.setattr(peers, "find_spec", lambda name: name != "slim_cuml")
    monkeypatch.setattr(peers, "import_module", modules.__getitem__)
    made = list(peers.measure(host_cuda, get_backend("cuda"), TOY))
    assert [r.engine for r in made] == ["cuCIM + nvForest", "cuCIM + cuML"]
    assert "48 planes" in made[0].data


def test_without_a_card_the_texts_say_not_yet_measured(result):
    assert "".join(tables.targets({})).count(tables.NOT_YET) == len(targets.TARGETS)
    filled = "".join(all_tables.filled(f"<!-- benchmarks: {name} -->\n<!-- benchmarks: end -->\n", {}, {})
                     for name in tables.TABLES)  # fmt: skip
    assert "No kernel was measured on a GPU yet." in filled
    on_card = dict.fromkeys(result["sections"], result)
    assert "Host shim" in "".join(tables.cards(on_card))


def test_results_of_cards_and_processors_stay_apart(tmp_path):
    runs = {"1": {"sections": ["a"]}, "2": {"sections": ["a"], "card": "x"},
            "3": {"sections": ["b"], "card": "x", "quick": True}}  # fmt: skip
    for name, content in runs.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    assert all_tables.newest(tmp_path) == {"a": runs["1"]}
    assert all_tables.newest(tmp_path, on_card=True) == {"a": runs["2"]}
    assert measure  # the processor's own


SKIPPED = """
import pytest
@pytest.mark.gpu
def test_lacks_a_gpu(): pytest.skip("no GPU")
@pytest.mark.gpu
def test_lacks_something_else(): pytest.skip("cuML is not installed")
def test_without_marker(): pytest.skip("no GPU")
"""


def pytest_with(path, **environment):
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "pyproject.toml", str(path)]
    return subprocess.run(
        [sys.executable, *command], env=os.environ | {"CUDA_VISIBLE_DEVICES": ""} | environment,
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_required_gpu_turns_skips_into_failures(tmp_path):
    (tmp_path / "test_skipping.py").write_text(SKIPPED)
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    done = pytest_with(tmp_path, GPUSEG_REQUIRE_GPU="1")
    assert "1 failed, 2 skipped" in done.stdout, done.stdout + done.stderr
    assert "GPUSEG_REQUIRE_GPU is set, and this is a Skipped: no GPU" in done.stdout
    assert "3 skipped" in pytest_with(tmp_path, GPUSEG_REQUIRE_GPU="").stdout


def test_a_required_gpu_is_not_replaced_by_the_stand_in():
    done = pytest_with("tests/gpu/test_planes.py::test_planes_have_the_stored_values", GPUSEG_REQUIRE_GPU="1")
    assert done.returncode == 1
    assert "2 errors" in done.stdout, done.stdout
    assert "BackendUnavailableError: CuPy is" in done.stdout


STUB = """#!/bin/sh
echo "$(basename $0) $*" >> "{log}"
case "$*" in {failing}) echo broken; exit 3;; esac
[ $(basename $0) = sanitizer ] || echo "of $OUT"
"""
STEPS = ("environment", "tests", "benchmarks", "memcheck", "racecheck", "synccheck", "initcheck")


@pytest.fixture
def checked(tmp_path):
    """Run the script with stubs for all programs; commands that match `failing` fail."""

    def check(failing, *arguments, **more):
        log = tmp_path / "log"
        for name in ("python", "sanitizer", "nvidia-smi"):
            (tmp_path / name).write_text(STUB.format(log=log, failing=failing))
            (tmp_path / name).chmod(0o755)
        environment = os.environ | {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "PYTHON": str(tmp_path / "python"),
            "SANITIZER": str(tmp_path / "sanitizer"),
            "OUT": str(tmp_path / "out"),
        }
        done = subprocess.run(
            [ROOT / "tools" / "gpu_check.sh", *arguments],
            env=environment | more, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done, log.read_text() if log.exists() else ""

    return check


def test_the_script_runs_every_step(checked, tmp_path):
    done, log = checked("nothing")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = (tmp_path / "out/summary.txt").read_text()
    assert [line.split()[0] for line in summary.splitlines()] == list(STEPS)
    assert summary.count("passed") == len(STEPS)
    assert done.stdout.endswith(summary)
    assert "python -m gpuseg doctor" in log
    assert f"python -m benchmarks.gpu --out {tmp_path}/out\n" in log
    assert log.count("--error-exitcode 9") == 4
    assert (
        len(list((tmp_path / "out").iterdir())) <= 8 - 3
    )  # junit.xml, table.md and the JSON are still to come


@pytest.mark.parametrize(
    ("failing", "step"),
    [
        ("*doctor*", "environment"),
        ("*junit*", "tests"),
        ("*racecheck*", "racecheck"),
        ("*benchmarks.gpu*", "benchmarks"),
    ],
)
def test_the_script_goes_on_after_a_failure_and_says_so(checked, failing, step):
    done, _ = checked(failing)
    assert done.returncode == 1
    lines = done.stdout.splitlines()[-len(STEPS) :]
    assert [line.split()[0] for line in lines] == list(STEPS)
    assert [line.split()[0] for line in lines if "FAILED with exit code 3" in line] == [step]
    assert "broken" in done.stdout


def test_the_script_passes_quick_on_and_refuses_other_words(checked):
    assert "--quick\n" in checked("nothing", "--quick")[1]
    done = checked("nothing", "--fast")[0]
    assert done.returncode == 2
    assert "usage" in done.stderr


def test_packages_to_compare_with_come_after_the_checkout(checked, tmp_path):
    (tmp_path / "site").mkdir()
    script = (ROOT / "tools/gpu_check.sh").read_text()
    assert script.index("export PYTHON=") < script.index("PYTHONPATH=$HERE:$SITE")
    done, _ = checked("nothing", SITE=str(tmp_path / "site"))
    assert done.returncode == 0
    assert "SITE is not set" not in done.stdout
