"""One image in tiles: the same numbers as in one piece, bounded, stoppable."""

from threading import Event

import numpy as np
import pytest

from gpuseg import export
from gpuseg.axes import Voxel, reorder, sizes
from gpuseg.backends import cpu, get_backend, get_backends
from gpuseg.errors import Cancelled, InputError, ResourceError
from gpuseg.export import ExportSettings, Made, Sink
from gpuseg.features.stack import feature_stack, probabilities
from gpuseg.io import open_image
from gpuseg.run import stream as module
from gpuseg.run.stream import Tap, stream

CPU = get_backend("cpu")


class Memory:
    """A writer that keeps everything, and how often each pixel was written."""

    def __init__(self, shape, dtype="f4"):
        self.values, self.count, self.calls = np.zeros(shape, dtype), np.zeros(shape, int), 0

    def write(self, region, values):
        self.values[region] = values
        self.count[region] += 1
        self.calls += 1


def sink_of(image, result, channels, writer=None, **asked):
    """An open sink that writes channels last, into memory unless there is a writer."""
    order = image.axes.replace("c", "") + "c"
    dtype = "u1" if export.RESULTS[result].kind == "labels" else "f4"
    target = ExportSettings.of(axis_order=order, **asked).target(
        *(image.path, image.axes, sizes(image.axes, image.shape), Voxel()),
        Made(result, np.dtype(dtype), channels),
    )
    return Sink(target, writer or Memory(target.output.shape, target.output.dtype))


def run(tmp_path, monkeypatch, model, array, axes, results, *, pixels, on=(CPU,), cutout=None, **options):
    """Results of `stream` on an .npy, with tiles of at most `pixels`; each written exactly once."""
    monkeypatch.setattr(cpu, "TILE", pixels)
    np.save(tmp_path / "image.npy", array)
    with open_image(tmp_path / "image.npy", axes) as image:
        size = dict(zip(axes, array.shape, strict=True))
        width = {
            "probabilities": len(model.classes),
            "features": model.selection.count(size.get("c", 1), size.get("z", 1)),
        }
        sinks = [sink_of(image, r, width.get(r, 1), cutout=cutout) for r in results]
        stream(on, image, model, sinks, **options)
    writers = {s.result: s._writer for s in sinks}
    assert all((w.count == 1).all() for w in writers.values())
    return writers


@pytest.mark.parametrize(
    ("axes", "shape", "in_2d"),
    [
        ("yx", (70, 50), True),
        ("xy", (50, 70), True),
        ("cyx", (3, 41, 33), True),
        ("tyx", (3, 40, 33), True),
        ("zyx", (6, 33, 40), True),
        ("zyx", (40, 33, 34), False),
        ("tzyxc", (2, 5, 33, 34, 3), True),
    ],
)
def test_tiled_equals_whole(tmp_path, monkeypatch, axes, shape, in_2d, small_image, small_model):
    model = small_model(axes.replace("t", "").replace("xy", "yx"), in_2d=in_2d)
    image = small_image(shape)
    tiled = run(tmp_path, monkeypatch, model, image, axes, list(export.RESULTS)[:4], pixels=1100)

    assert tiled["probabilities"].calls > 1
    compute = reorder(image, axes, "tczyx").astype(np.float32)
    for t, now in enumerate(compute):
        proba = probabilities(CPU, now, model.selection, model.forest)
        planes = np.moveaxis(feature_stack(CPU, now, model.selection), 0, -1)
        out = axes.replace("c", "") + "c"
        pick = {r: reorder(w.values, out, "tzyxc")[t] for r, w in tiled.items()}
        np.testing.assert_array_equal(pick["features"], planes)
        np.testing.assert_array_equal(pick["probabilities"], proba)
        np.testing.assert_array_equal(pick["segmentation"][..., 0], 1 + proba.argmax(-1))
        np.testing.assert_array_equal(pick["uncertainty"], export.doubt(CPU, proba))


def test_a_cutout_is_a_part_of_the_whole_and_nothing_else_is_computed(
    tmp_path, monkeypatch, small_image, small_model
):
    image, steps, counted = small_image((4, 70, 80)), [], []

    def count(done, total):
        counted.append(total)

    name, model = "probabilities", small_model()
    whole = run(tmp_path, monkeypatch, model, image, "tyx", [name], pixels=1100)[name]
    image[0] = image[:, :, 60:] = 255  # beyond the cutout and what it must see: nobody notices
    part = run(
        *(tmp_path, monkeypatch, model, image, "tyx", [name]),
        pixels=1100,
        cutout="t:1:3,y:30:41,x:5:40,c:1:",
        progress=lambda *step: steps.append(step),
    )[name]
    np.testing.assert_array_equal(part.values, whole.values[1:3, 30:41, 5:40, 1:])
    assert steps[-1][1] < whole.calls / 2
    run(*(tmp_path, monkeypatch, model, image, "tyx", [name]), pixels=1100, cutout="t:1:3", progress=count)
    assert counted[-1] == whole.calls / 2


def test_a_tap_sees_every_tile_whatever_is_cut_out(tmp_path, monkeypatch, small_image, small_model):
    seen = np.zeros((1, 70, 80, 1), np.float32)

    def put(region, made, b):
        seen[region] = made

    args = (tmp_path, monkeypatch, small_model(), small_image((2, 70, 80)), "tyx", ["probabilities"])
    whole = run(*args, pixels=1100)["probabilities"].values
    tap = Tap(lambda b, proba, planes: proba[..., 1:], put)
    run(*args, pixels=1100, cutout="t:1:2,y:3:40", times=range(1, 2), tap=tap)
    np.testing.assert_array_equal(seen[0], whole[1, ..., 1:])


def test_slices_and_time_points_know_nothing_of_each_other(tmp_path, monkeypatch, small_image, small_model):
    stack = small_image((4, 40, 36))
    volume = run(tmp_path, monkeypatch, small_model("zyx"), stack, "zyx", ["features"], pixels=2000)
    movie = run(tmp_path, monkeypatch, small_model("yx"), stack, "tyx", ["features"], pixels=2000)
    np.testing.assert_array_equal(volume["features"].values, movie["features"].values)


def test_tiles_of_many_features_are_smaller(tmp_path, monkeypatch, small_image, small_model):
    monkeypatch.setattr(cpu, "TILE_BYTES", 4 * (1 + 2 + 4) * 1100)
    image = small_image((64, 64))
    both = run(tmp_path, monkeypatch, small_model(), image, "yx", ["features", "probabilities"], pixels=2**22)
    one = run(tmp_path, monkeypatch, small_model(), image, "yx", ["probabilities"], pixels=2**22)
    assert both["probabilities"].calls > one["probabilities"].calls > 1


def test_labels_alone_need_no_pixels(tmp_path, monkeypatch, small_image, small_model):
    def painted(t, region):
        return np.full([s.stop - s.start for s in region], t + 1)

    monkeypatch.setattr(module, "read_pixels", None)
    image = small_image((2, 40, 40))
    found = run(tmp_path, monkeypatch, small_model(), image, "tyx", ["labels"], pixels=1000, labels=painted)
    assert found["labels"].values[:, 0, 0, 0].tolist() == [1, 2]


def test_progress_counts_tiles_and_a_set_event_stops_before_the_next(
    tmp_path, monkeypatch, small_image, small_model
):
    seen, cancel = [], Event()

    def progress(done, total):
        seen.append((done, total))
        if done == 2:
            cancel.set()

    with pytest.raises(Cancelled, match=r"image\.npy: stopped after 2 of 4 tiles") as caught:
        run(
            *(tmp_path, monkeypatch, small_model(), small_image((64, 64)), "yx", ["probabilities"]),
            pixels=1100,
            progress=progress,
            cancel=cancel,
        )
    assert seen == [(0, 4), (1, 4), (2, 4)]
    assert caught.value.exit_code == 130


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_pixels_that_are_not_finite_are_named(tmp_path, monkeypatch, bad, small_image, small_model):
    image = small_image((64, 64)).astype(float)
    image[50, 7] = image[51, 9] = bad
    with pytest.raises(InputError, match=r"image\.npy: 2 pixels are NaN, infinite.*the first at y 50, x 7"):
        run(tmp_path, monkeypatch, small_model(), image, "yx", ["probabilities"], pixels=1100)


def test_an_error_of_a_writer_ends_the_run(tmp_path, monkeypatch, small_image, small_model):
    class Full(Memory):
        def write(self, region, values):
            raise ResourceError("disk full")

    monkeypatch.setattr(cpu, "TILE", 1100)
    np.save(tmp_path / "image.npy", small_image((64, 64)))
    with open_image(tmp_path / "image.npy") as image, pytest.raises(ResourceError, match="disk full"):
        stream([CPU], image, small_model(), [sink_of(image, "probabilities", 2, Full((1, 1, 1)))])


@pytest.mark.parametrize("dtype", ["bool", "i1", "u8", ">u2", "f2", ">f8", "i8"])
def test_pixels_of_any_real_type_are_taken_as_float32(tmp_path, monkeypatch, dtype, small_image, small_model):
    image = (small_image((40, 40)) // 100).astype(dtype)
    made = run(tmp_path, monkeypatch, small_model(), image, "yx", ["features"], pixels=2**20)
    plain = feature_stack(CPU, image.astype(np.float32)[None, None], small_model().selection)
    np.testing.assert_array_equal(made["features"].values, np.moveaxis(plain, 0, -1)[0])


def test_tiles_are_spread_over_backends_and_come_back_in_order(
    tmp_path, monkeypatch, small_image, small_model
):
    """Two devices, whose kernels run on the CPU: each has its part of the tiles, writers notice nothing."""
    computed = []

    class Watched(cpu.CpuBackend):
        def image_proba(self, image, jobs, core, forest):
            computed.append(self)
            return super().image_proba(image, jobs, core, forest)

    first, second = Watched(), Watched()
    array, model = small_image((3, 64, 64)), small_model()
    expected = run(tmp_path, monkeypatch, model, array, "tyx", ["probabilities"], pixels=1100)
    made = run(
        *(tmp_path, monkeypatch, model, array, "tyx", ["probabilities"]),
        pixels=1100,
        on=(first, second),
    )
    np.testing.assert_array_equal(made["probabilities"].values, expected["probabilities"].values)
    assert computed.count(first) == computed.count(second) == 6


def test_two_gpus_give_what_the_cpu_gives(tmp_path, monkeypatch, host_cuda, small_image, small_model):
    host_cuda.devices = 2
    array, model = small_image((40, 60)).astype(np.uint8), small_model()
    expected = run(tmp_path, monkeypatch, model, array, "yx", ["probabilities", "features"], pixels=1100)
    gpus = get_backends("cuda:0,1")
    for b in gpus:
        monkeypatch.setattr(b, "room", lambda floats: 1100)
    made = run(tmp_path, monkeypatch, model, array, "yx", ["probabilities", "features"], pixels=1100, on=gpus)
    for name, result in made.items():
        np.testing.assert_array_equal(result.values, expected[name].values)


def test_a_tile_that_does_not_fit_on_the_gpu_is_halved(
    tmp_path, monkeypatch, host_cuda, small_image, small_model, caplog
):
    array, model = small_image((200, 200)), small_model()
    expected = run(tmp_path, monkeypatch, model, array, "yx", ["probabilities"], pixels=2**20)
    host_cuda.limit_bytes = 100_000
    (b,) = get_backends("cuda")
    made = run(tmp_path, monkeypatch, model, array, "yx", ["probabilities"], pixels=2**20, on=[b])
    np.testing.assert_array_equal(made["probabilities"].values, expected["probabilities"].values)
    assert "going on in smaller tiles" in caplog.text
