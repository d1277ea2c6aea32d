"""Probability maps in files in, label images out: what `api.segment` writes, refuses and goes on after."""

import json
import logging
from pathlib import Path
from threading import Event

import h5py
import numpy as np
import pytest
from scipy import ndimage

from gpuseg import api, segment
from gpuseg.axes import Voxel
from gpuseg.backends import get_backend
from gpuseg.errors import Cancelled, FileError, InputError, ResourceError, ShapeError
from gpuseg.io import Output, create_image, open_image


def read(path):
    with open_image(path) as image:
        return image.read(), image


def blobs(shape, seed=0):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 2)
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


def store(path, proba, axes, **more):
    with create_image(path, Output(proba.shape, proba.dtype, axes, **more)) as writer:
        writer.write(tuple(slice(0, n) for n in proba.shape), proba)
    return path


@pytest.fixture
def maps(tmp_path):
    """A file of 2 channels, 60 x 70, and its array."""
    proba = np.stack([blobs((60, 70), 0), blobs((60, 70), 1)], -1)
    return store(tmp_path / "a_Probabilities.h5", proba, "yxc", drange=(0, 1)), proba


def test_labels_are_written_beside_the_map_as_ilastik_names_them(maps, caplog):
    path, proba = maps
    with caplog.at_level(logging.INFO, "gpuseg"):
        (outcome,) = api.segment(path, channel=1, threshold=0.55, backend="cpu")
    (written,) = outcome.outputs
    assert Path(written) == path.with_name("a_Probabilities_Object Identities.h5")
    labels, image = read(written)
    expected = segment(proba, axes="yxc", channel=1, threshold=0.55, backend="cpu")
    assert (image.axes, labels.dtype, labels.shape) == ("yxc", np.uint32, (60, 70, 1))
    np.testing.assert_array_equal(labels[..., 0], expected.labels)
    assert f"{written}: {expected.count[0]} objects of channel 1, 60 x 70 x 1 yxc, uint32" in caplog.messages
    assert (outcome.error, outcome.image) == (None, str(path))


HOWS = {
    "simple": {"threshold": 0.5},
    "hysteresis": {"method": "hysteresis", "low": 0.55, "high": 0.6},
    "kept apart": {"method": "hysteresis", "low": 0.45, "high": 0.6, "keep_apart": True},
    "split": {"split": 1},
    "classes": {"classes": (0, 1)},
}


@pytest.mark.parametrize("how", HOWS.values(), ids=HOWS)
def test_tiles_change_nothing(tmp_path, maps, how):
    path, _ = maps
    done = [
        api.segment(path, output=f"{tmp_path}/{i}.tif", block=tile, backend="cpu", **how)[0].outputs[0]
        for i, tile in enumerate((None, (1, 16, 23)))
    ]
    whole, tiled = (read(d)[0] for d in done)
    assert whole.max() > 1
    np.testing.assert_array_equal(whole, tiled)


@pytest.mark.parametrize("tile", [None, (1, 16, 23)])
def test_a_cutout_has_the_objects_of_the_whole_image(tmp_path, maps, tile):
    path, _ = maps
    whole = read(api.segment(path, channel=1, backend="cpu")[0].outputs[0])[0]
    (outcome,) = api.segment(
        *(path,),
        output=f"{tmp_path}/{{nickname}}_{{roi}}.tif",
        cutout="y:11:52,x:5:66",
        dtype="uint8",
        axis_order="xy",
        channel=1,
        block=tile,
        backend="cpu",
    )
    assert outcome.outputs == (f"{tmp_path}/a_Probabilities_y11-52_x5-66_c0-1.tif",)
    labels, image = read(outcome.outputs[0])
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels if image.axes == "xy" else labels.T, whole[11:52, 5:66, 0].T)


def test_labels_can_be_a_sequence_of_pictures(tmp_path):
    path = store(tmp_path / "a.h5", blobs((3, 40, 50)), "zyx")
    (outcome,) = api.segment(path, format="multipage tiff sequence", output=f"{tmp_path}/o_{{slice_index}}")
    assert [Path(p).name for p in outcome.outputs] == ["o_0000.tiff", "o_0001.tiff", "o_0002.tiff"]
    expected = segment(read(path)[0], axes="zyx", backend="cpu").labels
    np.testing.assert_array_equal(np.stack([read(p)[0] for p in outcome.outputs]), expected)


def test_an_image_larger_than_memory_goes_in_tiles(tmp_path, maps, monkeypatch):
    path, proba = maps
    steps = []
    free = get_backend("cpu").free()
    monkeypatch.setattr("gpuseg.run.objects.BYTES", free // 60 // 70 + 1)
    monkeypatch.setattr("gpuseg.backends.cpu.TILE", 2**11)
    (outcome,) = api.segment(
        path, output=f"{tmp_path}/out.tif", backend="cpu", progress=lambda *s: steps.append(s)
    )
    done = [d for _, d, total in steps if total == 100]
    assert done == [0, 0, 16, 33, 50, 66, 83, 100]  # three tiles, twice
    expected = segment(proba, axes="yxc", backend="cpu").labels
    np.testing.assert_array_equal(read(outcome.outputs[0])[0], expected)


@pytest.mark.parametrize(
    ("axes", "shape", "kept"), [("tzyxc", (2, 1, 40, 50, 2), "tzyxc"), ("cxyt", (2, 50, 40, 3), "cxyt")]
)
def test_labels_have_the_axes_of_their_map(tmp_path, axes, shape, kept):
    proba = blobs(shape)
    path = store(tmp_path / "a.h5", proba, axes)
    (outcome,) = api.segment(path, channel=1, backend="cpu")
    labels, image = read(outcome.outputs[0])
    assert image.axes == kept
    expected = segment(proba, axes=axes, channel=1, backend="cpu")
    np.testing.assert_array_equal(np.squeeze(labels), np.squeeze(expected.labels))


def test_pixel_sizes_and_origin_are_carried_through(tmp_path):
    voxel = Voxel({"y": 0.5, "x": 0.25}, {"y": "micrometer", "x": "micrometer"})
    path = store(tmp_path / "a.h5", blobs((40, 50)), "yx", voxel=voxel)
    (outcome,) = api.segment(path, output=f"{tmp_path}/{{nickname}}_{{result_type}}.h5", backend="cpu")
    assert outcome.outputs == (f"{tmp_path}/a_Object Identities.h5",)
    assert read(outcome.outputs[0])[1].voxel.size == voxel.size
    with h5py.File(outcome.outputs[0]) as file:
        attributes = dict(file["exported_data"].attrs)
    assert json.loads(attributes["gpuseg"])["result"] == "Object Identities"
    assert attributes["display_mode"] == b"random-colortable"


def test_the_range_is_what_the_file_says(tmp_path, caplog):
    proba = blobs((40, 50))
    stored = np.round(proba * 100).astype(np.uint8)
    said = store(tmp_path / "a.h5", stored, "yx", drange=(0, 100))
    silent = store(tmp_path / "b.h5", stored, "yx")
    kept = {}
    for name, path, more in (("file", said, {}), ("type", silent, {}), ("user", silent, {"range": (0, 100)})):
        with caplog.at_level(logging.INFO, "gpuseg"):
            (outcome,) = api.segment(path, sigma=0, min_size=0, backend="cpu", **more)
        kept[name] = read(outcome.outputs[0])[0][..., 0] > 0
    np.testing.assert_array_equal(kept["file"], stored >= 50)
    np.testing.assert_array_equal(kept["user"], stored >= 50)
    np.testing.assert_array_equal(kept["type"], stored >= 128)
    assert caplog.text.count("is taken for probabilities 0 to 1 stored as 0 to 255") == 1


def test_counts_are_told_by_class_and_time_point(tmp_path, caplog):
    proba = np.zeros((2, 20, 20, 2), np.float32)
    proba[..., 0] = 0.5
    proba[:, 2:8, 2:8, 1] = proba[0, 12:18, 12:18, 1] = 0.9
    path = store(tmp_path / "a.h5", proba, "tyxc")
    with caplog.at_level(logging.INFO, "gpuseg"):
        api.segment(path, classes=(1,), sigma=0, output=f"{tmp_path}/o.h5", backend="cpu")
    assert "3 objects at 2 time points (channel 1: 3), 2 x 20 x 20 x 1 tyxc, uint32" in caplog.text


def test_an_image_without_objects_is_warned_of_and_its_channel_named(tmp_path, maps, caplog):
    path, _ = maps
    with caplog.at_level(logging.INFO, "gpuseg"):
        api.segment(path, threshold=0.5, backend="cpu")
        assert not [r for r in caplog.records if r.levelname == "WARNING"]
        api.segment(path, threshold=1, output=f"{tmp_path}/o.tif", backend="cpu")
    (record,) = (r for r in caplog.records if r.levelname == "WARNING")
    assert record.getMessage().startswith(f"{path}: no object of channel 0 was found; check the channel")
    assert f"{tmp_path}/o.tif: 0 objects of channel 0, 60 x 70 yx, uint32" in caplog.messages


def test_the_channel_of_a_map_that_has_one_is_not_told(tmp_path, caplog):
    path = store(tmp_path / "a.h5", np.zeros((20, 30), np.float32), "yx")
    with caplog.at_level(logging.INFO, "gpuseg"):
        api.segment(path, output=f"{tmp_path}/o.tif", backend="cpu")
    assert f"{tmp_path}/o.tif: 0 objects, 20 x 30 yx, uint32" in caplog.messages
    assert f"{path}: no object was found; check" in caplog.text


def test_channels_that_a_guess_takes_for_space_are_refused_of_a_file(tmp_path):
    proba = np.random.default_rng(5).dirichlet(np.ones(5), (20, 30)).astype(np.float32)
    np.save(tmp_path / "a.npy", proba)
    with pytest.raises(InputError, match=r"a.npy: axes zyx were guessed .* sum to 1 along x.*\n.*axes='yxc'"):
        api.segment(tmp_path / "a.npy", backend="cpu")
    with pytest.raises(InputError, match=r"a.npy: channel 1 .*\n.*axes zyx were guessed"):
        api.segment(tmp_path / "a.npy", channel=1, backend="cpu")
    (outcome,) = api.segment(tmp_path / "a.npy", axes="yxc", channel=1, backend="cpu")
    assert read(outcome.outputs[0])[0].shape == (20, 30, 1)
    said = store(tmp_path / "b.h5", proba, "zyx")
    api.segment(said, backend="cpu")


def test_a_result_beside_its_map_in_one_file_is_refused_for_what_it_is(tmp_path):
    path = store(tmp_path / "two.h5" / "proba", blobs((20, 30)), "yx")
    with pytest.raises(
        InputError, match=r"cannot go into the file of the input .*two.h5/proba, which is being read"
    ):
        api.segment(path, output=f"{tmp_path}/two.h5/labels", backend="cpu")


def test_a_png_numbers_up_to_65535_objects(tmp_path, maps):
    path, _ = maps
    (outcome,) = api.segment(path, output=f"{tmp_path}/a.png", backend="cpu")
    assert read(outcome.outputs[0])[0].dtype in (np.uint8, np.uint16)
    many = np.zeros((520, 520), np.float32)
    many[::2, ::2] = 1
    np.save(tmp_path / "many.npy", many)
    how = {"sigma": 0, "min_size": 1, "backend": "cpu"}
    with pytest.raises(InputError, match=r"m\.png: label \d+ is among .* uint16 holds no label above 65535"):
        api.segment(tmp_path / "many.npy", output=f"{tmp_path}/m.png", **how)
    assert not (tmp_path / "m.png").exists()


def test_a_bad_image_is_named_and_the_others_are_done(tmp_path, maps):
    path, _ = maps
    bad = np.full((30, 40), 0.5, np.float32)
    bad[3, 4] = np.nan
    np.save(tmp_path / "bad.npy", bad)
    np.save(tmp_path / "small.npy", bad[:2])
    paths = [tmp_path / "bad.npy", path, tmp_path / "small.npy", tmp_path / "absent.npy"]
    outcomes = api.segment(paths, backend="cpu", on_error="skip")
    told = [str(o.error) for o in outcomes]
    assert told[0].startswith(f"{paths[0]}: ")
    assert "has NaN" in told[0]
    assert outcomes[1].error is None
    assert told[2].startswith(f"{paths[2]}: sigma 1 along y is above a third of the image's 2 pixels")
    assert told[3].startswith(f"{paths[3]}: ")
    assert [type(o.error) for o in outcomes] == [InputError, type(None), ShapeError, FileError]
    assert not list(tmp_path.glob("bad_*"))
    with pytest.raises(InputError, match=f"^{paths[0]}"):
        api.segment(paths[:1], backend="cpu")


def test_nothing_is_computed_if_results_would_overwrite_each_other(tmp_path, maps):
    path, _ = maps
    with pytest.raises(InputError, match="would overwrite the input"):
        api.segment(path, output=str(path), backend="cpu")
    np.save(tmp_path / "b.npy", blobs((30, 40)))
    with pytest.raises(InputError, match="would overwrite the object identities of"):
        api.segment([path, tmp_path / "b.npy"], output=f"{tmp_path}/o.h5", backend="cpu")


def test_a_full_disk_is_told_before_anything_is_computed(maps, monkeypatch):
    path, _ = maps
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("", (), {"free": 10})())
    with pytest.raises(ResourceError, match=r"the results need .*, the disk has 10 bytes free"):
        api.segment(path, backend="cpu")


@pytest.mark.parametrize("how", [{}, {"block": (1, 16, 20)}, {"classes": (0, 1)}, {"split": 1.0}], ids=str)
def test_a_gpu_that_is_full_at_any_moment_gives_the_same(maps, host_cuda, caplog, how):
    """The k-th allocation fails: it goes on in tiles, and at last on the CPU."""
    path, count = maps[0], 0

    def labels(k):
        nonlocal count
        count = 0

        def fails(size):
            nonlocal count
            count += 1
            return count - 1 == k

        host_cuda.failing = fails
        (outcome,) = api.segment(path, backend="cuda", output=f"{path.parent}/{k}.npy", **how)
        return read(outcome.outputs[0])[0]

    expected = labels(-1)
    for k in range(0, count, max(1, count // 10)):
        np.testing.assert_array_equal(labels(k), expected)
    assert "going on in tiles" in caplog.text
    assert "the CPU does the rest" in caplog.text or "block" not in how


def test_touching_objects_that_a_gpu_has_no_room_for_are_parted_by_the_cpu(tmp_path, host_cuda, caplog):
    proba = np.zeros((150, 150), np.float32)
    proba[5:145, 5:70] = proba[5:145, 80:145] = proba[70:76, 70:80] = 0.9
    path = store(tmp_path / "a.h5", proba, "yx")
    how = {"split": 1.0, "sigma": 0}
    expected = api.segment(path, output=f"{tmp_path}/cpu.npy", backend="cpu", **how)
    host_cuda.total_bytes = 600_000
    found = api.segment(path, output=f"{tmp_path}/gpu.npy", backend="cuda", **how)
    np.testing.assert_array_equal(*(read(f[0].outputs[0])[0] for f in (found, expected)))
    assert read(expected[0].outputs[0])[0].max() == 2
    assert "touching objects fill a box" in caplog.text


def test_labels_go_into_a_file_that_has_another_dataset(tmp_path, maps):
    path = store(tmp_path / "there.h5/raw", blobs((9, 9)), "yx")
    file = str(path).removesuffix("/raw")
    (outcome,) = api.segment(maps[0], output=file, backend="cpu")
    assert outcome.outputs == (file,)
    with h5py.File(file) as there:
        assert set(there) == {"raw", "exported_data"}
        assert there["exported_data"][()].max() > 1


@pytest.mark.parametrize("tile", [None, (1, 20, 20)])
def test_a_cancelled_image_leaves_nothing(maps, tile):
    path, _ = maps
    stop = Event()
    stop.set()
    with pytest.raises(Cancelled, match=r"a_Probabilities.h5: stopped after 0 % of"):
        api.segment(path, block=tile, cancel=stop, backend="cpu")
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"channel": 4}, "channel 4 of an image with 2 channels"),
        ({"output": "{rio}.h5"}, "unknown placeholder {rio}"),
        ({"format": "docx"}, "no format is called 'docx'"),
        ({"axis_order": "yyx"}, "axis order 'yyx'"),
        ({"cutout": {"t": (1, None)}}, "cutout t:1: leaves nothing of t 0 to 1"),
        ({"block": (1, 0, 4)}, "block 0: a whole number from 1 is needed"),
        ({"block": -2}, "block -2: a whole number from 1"),
        ({"block": (1, 2.5, 4)}, "block 2.5: a whole number"),
        ({"range": ()}, "range ..: two numbers are needed"),
        ({"low": 0.5}, "low 0.5 changes nothing"),
        ({"axes": "yx"}, "axes 'yx' name 2 axes, the array has 3"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_with_a_reason(maps, how, told):
    with pytest.raises(InputError, match=told):
        api.segment(maps[0], backend="cpu", **how)
    with pytest.raises(TypeError, match="treshold"):
        api.segment(maps[0], treshold=0.5)
