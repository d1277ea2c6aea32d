"""One image in tiles: the same numbers as in one piece, bounded, stoppable."""

from threading import Event

import numpy as np
import pytest

from gpuseg import export
from gpuseg.axes import reorder
from gpuseg.backends import cpu, get_backend, get_backends
from gpuseg.errors import Cancelled, InputError, ResourceError
from gpuseg.features.stack import feature_stack, probabilities
from gpuseg.io import open_image
from gpuseg.run import stream as module
from gpuseg.run.stream import Sink, stream

CPU = get_backend("cpu")


class Memory:
    """A writer that keeps everything, and how often each pixel was written."""

    def __init__(self, shape, dtype="f4"):
        self.values, self.count, self.calls = np.zeros(shape, dtype), np.zeros(shape, int), 0

    def write(self, region, values):
        self.values[region] = values
        self.count[region] += 1
        self.calls += 1


def run(tmp_path, monkeypatch, model, array, axes, results, *, pixels, on=(CPU,), **options):
    """Results of `stream` on an .npy, with tiles of at most `pixels`; each written exactly once."""
    monkeypatch.setattr(cpu, "TILE", pixels)
    np.save(tmp_path / "image.npy", array)
    with open_image(tmp_path / "image.npy", axes) as image:
        size = dict(zip(axes, array.shape, strict=True))
        width = {
            "probabilities": len(model.classes),
            "features": model.selection.count(size.get("c", 1), size.get("z", 1)),
        }
        shape = [size[a] for a in axes if a != "c"]
        writers = {r: Memory((*shape, width.get(r, 1))) for r in results}
        out = axes.replace("c", "") + "c"
        sinks = [Sink(r, w, out, lambda v: v) for r, w in writers.items()]
        stream(on, image, model, sinks, **options)
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
    sink = Sink("probabilities", Full((1, 1, 1)), "yxc", lambda v: v)
    with open_image(tmp_path / "image.npy") as image, pytest.raises(ResourceError, match="disk full"):
        stream([CPU], image, small_model(), [sink])


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
