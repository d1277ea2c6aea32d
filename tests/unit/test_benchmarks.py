"""The benchmarks run, their arithmetic is right, and no text shows a figure without its result."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import (
    bench_objects,
    bench_start,
    cells,
    images,
    measure,
    object_peers,
    peers,
    plot_objects,
    scene,
    session,
    tables,
    targets,
)

TINY = measure.Size(
    side=96,
    cube=40,
    band=8,
    labelled=120,
    trees=4,
    rounds=1,
    patience=0,
    limit_mb=1,
    prototypes=False,
    file_side=64,
    memory_side=64,
    object_side=192,
    object_cube=32,
    most_objects=10**4,
)
IN_PROCESS = ("planes", "forest", "image", "volume", "training", "objects")
FINDING = ("2D components", "3D components", "2D probabilities to objects")
ALWAYS = {"scikit-image", "scikit-learn", "scikit-image + scikit-learn"}  # the test extra brings them


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return session.measure(IN_PROCESS, TINY, tmp_path_factory.mktemp("results") / "tiny.json")


@pytest.fixture
def launched(monkeypatch):
    """Commands that were to be launched; each is said to take a second and a gigabyte."""
    commands = []

    def launch(*command, **environment):
        commands.append(command)
        return {"seconds": 1.0, "peak_gb": 1.0}

    monkeypatch.setattr("benchmarks.bench_start.launch", launch)
    monkeypatch.setattr("benchmarks.bench_memory.launch", launch)
    return commands


def row(case, engine, seconds, peak=None):
    return {"case": case, "engine": engine, "median_s": seconds, "peak_gb": peak}


def case(samples, **more):
    taken = {engine: [measure.Sample(s, 0.0) for s in seconds] for engine, seconds in samples.items()}
    return measure.Case("planes", "2D planes", "16 px", items=2.0, unit="Mpx", samples=taken, **more)


@pytest.mark.parametrize("section", IN_PROCESS)
def test_section_measures_what_its_targets_need(result, section):
    found = targets.by_case(result["rows"])
    skipped = {s["engine"] for s in result["skipped"]}
    wanted = [t for t in targets.TARGETS if t.section == section]
    assert wanted
    for target in wanted:
        measured = target.verdict(found)[0] is not None
        engine = target.claim.rpartition("beside ")[2]
        assert measured or engine in skipped - ALWAYS, target.claim


def test_same_forest_gives_the_same_probabilities(result):
    rows = [r for r in result["rows"] if r["section"] == "forest" and r["engine"] == "scikit-learn"]
    differences = [float(r["note"].rpartition(" ")[2]) for r in rows]
    assert len(rows) == 2
    assert max(differences) <= 1e-6


def test_everyone_finds_the_same_objects(result):
    notes = [r["note"] for r in result["rows"] if r["case"] in FINDING and r["engine"] != "gpuseg"]
    assert len(notes) >= 3 - 3 * bool(object_peers.no_cc3d())
    assert all(note.startswith("the same") for note in notes), notes


def test_everyone_measures_the_same_numbers(result):
    notes = [r["note"] for r in result["rows"] if r["section"] == "objects" and "differ by" in r["note"]]
    assert len(notes) >= 2
    assert max(float(n.split("at most ")[1].split(" ")[0]) for n in notes) < 1e-5


def test_objects_that_differ_are_said_to():
    ours = np.array([[1, 1, 0, 2]])
    assert object_peers.same_objects(ours * 7, ours) == "the same 2 objects"
    for other in ([[1, 1, 0, 1]], [[1, 3, 0, 2]], [[1, 1, 2, 2]], [[1, 1, 0, 0]]):
        assert object_peers.same_objects(np.array(other), ours) == "NOT the same 2 objects"


def test_cells_are_the_same_on_each_run_and_some_touch():
    first, again = cells.flat(192), cells.flat.__wrapped__(192)
    np.testing.assert_array_equal(first.labels, again.labels)
    np.testing.assert_array_equal(first.proba, again.proba)
    right, left = first.labels[:, 1:], first.labels[:, :-1]
    assert np.count_nonzero((right != left) & (right > 0) & (left > 0)) > 100
    assert np.array_equal(np.unique(first.labels), np.arange(first.count + 1))
    assert first.cut(64).count == len(np.unique(first.labels[:64, :64])) - 1


def test_cost_per_object_is_drawn_from_the_rows():
    row = {"case": f"{bench_objects.SCALING}, x", "median_s": 0.02, "min_s": 0.01, "max_s": 0.04, "rate": 500}
    (found,) = plot_objects.points([row, row | {"case": "2D components"}])
    np.testing.assert_allclose(found, (10_000, 2, 1, 4))


def test_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="pip install 'gpuseg[bench]'")
    plot_objects.draw([(1e3, 3.0, 2.0, 4.0), (1e4, 3.0, 2.5, 3.5)], "a machine", tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 5_000


def test_start_and_memory_launch_the_command_line(launched):
    cases = [*session.SECTIONS["start"](TINY), *session.SECTIONS["memory"](TINY)]
    found = targets.by_case(r for c in cases for r in measure.rows(c, {"copy": 1.0, "fma": 1.0}))
    wanted = [t for t in targets.TARGETS if t.section in ("start", "memory")]
    assert [t.verdict(found)[0] for t in wanted] == [1.0] * len(wanted)
    assert sum("predict" in command for command in launched) >= 4


def test_predict_command_is_one_that_gpuseg_takes(tmp_path):
    from PIL import Image
    from typer.testing import CliRunner

    from gpuseg.cli import app

    Image.fromarray(images.mosaic(64)).save(tmp_path / "image.png")
    command = bench_start.predict(bench_start.save_model(tmp_path, TINY), tmp_path / "image.png", tmp_path)
    outcome = CliRunner().invoke(app, command[1:])
    assert outcome.exit_code == 0, outcome.output
    assert [p.name for p in tmp_path.glob("*.h5")] == ["image_Probabilities.h5"]


def test_launch_measures_the_command_and_not_its_parent():
    ballast = np.ones(50_000_000)  # 400 MB
    result = bench_start.launch(sys.executable, "-c", "x = b'1' * 100_000_000")
    assert 0.1 < result["peak_gb"] < 0.3 < ballast.nbytes / 1e9
    assert 0 < result["seconds"] < 30


def test_failed_command_is_an_error():
    with pytest.raises(RuntimeError, match="exit code 3"):
        bench_start.launch(sys.executable, "-c", "raise SystemExit(3)")


def test_race_keeps_the_least_disturbed_not_the_fastest(monkeypatch):
    seconds, foreign = iter([3.0, 1.0, 2.0, 5.0]), iter([0.9, 0.5, 0.0, 0.1])
    monkeypatch.setattr(measure, "wait_until_quiet", lambda patience: None)
    monkeypatch.setattr(
        measure, "_sample", lambda run, repeats, others: measure.Sample(next(seconds), next(foreign))
    )
    taken = measure.race({"a": lambda: 0.0}, rounds=2, patience=100)
    assert sorted(s.seconds for s in taken["a"]) == [2.0, 5.0]


def test_race_takes_turns_and_repeats_short_tasks():
    order = []
    runs = {name: lambda name=name: order.append(name) or measure.SAMPLE / 4 for name in "ab"}
    taken = measure.race(runs, rounds=2)
    assert "".join(order) == "ab" + "aaaa" + "bbbb"  # the first sample says how often to repeat
    assert [s.seconds for s in taken["a"]] == [measure.SAMPLE / 4] * 2


def test_lineup_warms_up_before_it_checks():
    order = []
    lineup = measure.Lineup(TINY)
    lineup.add("a", lambda: order.append("run") or 1.0, lambda: order.append("check") or "as it should be")
    raced = lineup.race("planes", "x", "y", 1, "Mpx")
    assert order[:3] == ["run", "check", "run"]
    assert raced.notes == {"a": "as it should be"}


def test_rows_compare_with_gpuseg_and_with_the_limits():
    limits = {"copy": 10.0, "fma": 100.0}
    raced = case({"gpuseg": [1.0, 2.0, 3.0], "OpenCV": [8.0, 9.0, 7.0]}, traffic=5e9, flops=20e9)
    ours, theirs = measure.rows(raced, limits)
    assert (ours["median_s"], ours["min_s"], ours["max_s"], ours["n"]) == (2.0, 1.0, 3.0, 3)
    assert (ours["spread"], ours["rate"], ours["unit"]) == (1.0, 1.0, "Mpx/s")
    assert (ours["of_copy_bandwidth"], ours["of_fma_rate"]) == (0.25, 0.1)
    assert theirs["gpuseg_is_faster_by"] == 4.0


@pytest.mark.parametrize(
    ("target", "rows", "expected"),
    [
        (targets.times_faster("planes", "x", "y", 2), [row("x", "gpuseg", 2), row("x", "y", 4)], (2, True)),
        (
            targets.times_faster("planes", "x", "y", 2),
            [row("x", "gpuseg", 2), row("x", "y", 3)],
            (1.5, False),
        ),
        (targets.times_faster("planes", "x", "y", 2), [row("x", "gpuseg", 2)], (None, False)),
        (targets.seconds("x", 2.5), [row("x", "gpuseg", 2.5)], (2.5, True)),
        (targets.seconds("x", 2.5), [row("x", "gpuseg", 2.6)], (2.6, False)),
        (targets.gigabytes("x", 1.5), [row("x", "gpuseg", 1, 1.6)], (1.6, False)),
        (
            targets.cost_of_many("x", 1.2),
            [row(f"x {i}", "gpuseg", 1) | {"rate": rate} for i, rate in enumerate((4, 6, 5))],
            (1.2, True),
        ),
        (targets.cost_of_many("x", 1.2), [row("y", "gpuseg", 1)], (None, False)),
        (targets.growth("x", "y", 1.1), [row("x", "gpuseg", 1, 1), row("y", "gpuseg", 1, 2)], (2, False)),
    ],
)
def test_verdict(target, rows, expected):
    assert target.verdict(targets.by_case(rows)) == expected


def test_texts_show_the_newest_results():
    assert tables.main(["--check"]) == 0


def test_a_wrong_figure_in_a_text_is_found(result):
    results = dict.fromkeys(result["sections"], result)
    blocks = "".join(f"<!-- benchmarks: {name} -->\n<!-- benchmarks: end -->\n" for name in tables.TABLES)
    text = tables.filled(blocks, results)
    assert tables.filled(text, results) == text
    assert "2D planes" in text
    assert "scikit-image" in text
    ours = next(r for r in result["rows"] if r["engine"] == "gpuseg")
    changed = dict.fromkeys(result["sections"], result | {"rows": [ours | {"median_s": 123.0}]})
    assert "123 s" in tables.filled(text, changed) != text


def test_tables_without_results_say_so():
    text = "a\n<!-- benchmarks: summary -->\nold\n<!-- benchmarks: end -->\nb\n"
    assert "No results yet" in tables.filled(text, {})
    assert "old" not in tables.filled(text, {})


def test_each_section_comes_from_the_last_file_that_has_it(tmp_path):
    for name, sections in (("2026-01-01", ["planes", "image"]), ("2026-02-01", ["image"])):
        (tmp_path / f"{name}.json").write_text(json.dumps({"sections": sections, "name": name}))
    found = {section: run["name"] for section, run in tables.newest(tmp_path).items()}
    assert found == {"planes": "2026-01-01", "image": "2026-02-01"}


def test_report_counts_missed_targets(result, capsys):
    slow = [
        r | {"median_s": 1e9, "rate": 0.5**i} if r["engine"] == "gpuseg" else r
        for i, r in enumerate(result["rows"])
    ]
    wanted = sum(t.section in IN_PROCESS for t in targets.TARGETS)
    assert session.report(result | {"rows": slow}) == wanted
    assert capsys.readouterr().out.count("FAIL") == wanted


@pytest.mark.skipif(bool(peers.OpenCV.absent()), reason=peers.NO_OPENCV)
def test_opencv_follows_the_recipe():
    s = scene.flat("texture", TINY)
    out = np.zeros((s.planes, *s.plain.shape), np.float32)
    peers.OpenCV().planes(s.plain, s.jobs, out)
    np.testing.assert_allclose(out, s.stack()[:, 0], atol=5e-3)  # it rounds products of 255 squared


@pytest.mark.skipif(bool(peers.Vigra.absent()), reason=peers.NO_VIGRA)
def test_vigra_follows_the_recipe():
    s = scene.flat("texture", TINY)
    with peers.Vigra() as vigra:
        vigra.share("image", s.plain.shape)[...] = s.plain
        vigra.do("planes", image="image", jobs=peers.jobs_as_json(s.jobs), count=s.planes)
        np.testing.assert_allclose(vigra.last(), s.stack()[:, 0], atol=5e-3)


@pytest.mark.skipif(bool(peers.Vigra.absent()), reason=peers.NO_VIGRA)
def test_death_of_vigras_process_is_an_error():
    with peers.Vigra() as vigra, pytest.raises(RuntimeError, match="ended with code 1 during 'nothing'"):
        vigra.do("nothing")


def test_taps_of_a_single_gaussian_are_counted():
    s = scene.flat("texture", TINY)
    smallest = next(j for j in s.jobs if len(j.planes) == 1)  # sigma 0.3: radius 1 and 1, two axes
    assert scene.flops(smallest) == 2 * (2 * 3 + 2 * 3)


def test_scribbles_stay_within_one_class_each():
    truth = images.texture(96)
    painted = images.scribbles(truth, 120)
    assert np.count_nonzero(painted) >= 120
    assert set(np.unique(painted)) == {0, 1, 2, 3}
    assert (painted[painted > 0] == truth[painted > 0]).all()


def test_bands_hold_a_part_of_every_photograph():
    numbers = np.repeat(np.arange(4, dtype=np.float32), 24)[:, None] * np.ones(96, np.float32)
    assert images.bands(numbers, 8).shape == (32, 96)
    assert np.unique(images.bands(numbers, 8)).tolist() == [0, 1, 2, 3]


def test_quick_run_writes_no_result(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    monkeypatch.setattr(session, "QUICK", replace(TINY, side=64))
    monkeypatch.setattr(session.machine, "pin", lambda: None)
    assert session.main(["--quick", "--only", "planes"]) == 0
    assert not list(tmp_path.iterdir())
