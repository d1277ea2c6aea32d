"""Files in, files out: what `api.predict` writes, refuses and goes on after."""

import errno
import json
import logging
import os
from collections import namedtuple
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from gpuseg import api
from gpuseg.errors import Cancelled, FileError, InputError, ModelError, ModelMismatchError, ResourceError
from gpuseg.export import RESULTS
from gpuseg.io import Output, create_image, open_image

COMPUTED = [key for key, row in RESULTS.items() if row.source in ("proba", "planes")]


def read(path):
    with open_image(path) as image:
        return image.read(), image


@pytest.fixture
def cells(tmp_path, small_image):
    """An image file of 40 x 50 pixels."""
    path = tmp_path / "cells.npy"
    np.save(path, small_image((40, 50)))
    return path


def test_every_result_is_written_beside_the_image_as_ilastik_names_it(tmp_path, cells, small_model):
    model = small_model()
    (outcome,) = api.predict(model, cells, export=COMPUTED)
    assert [Path(p).name for p in outcome.outputs] == [
        "cells_Probabilities.h5",
        "cells_Simple Segmentation.h5",
        "cells_Uncertainty.h5",
        "cells_Features.h5",
    ]
    found = {Path(p).stem.partition("_")[2]: read(p) for p in outcome.outputs}
    for title, shape, dtype in [
        ("Probabilities", (40, 50, 2), "float32"),
        ("Simple Segmentation", (40, 50, 1), "uint8"),
        ("Uncertainty", (40, 50, 1), "float32"),
        ("Features", (40, 50, 4), "float32"),
    ]:
        values, image = found[title]
        assert (image.axes, values.shape, values.dtype) == ("yxc", shape, dtype)
    proba = found["Probabilities"][0]
    np.testing.assert_allclose(proba.sum(-1), 1, atol=1e-6)
    np.testing.assert_array_equal(found["Simple Segmentation"][0][..., 0], 1 + proba.argmax(-1))
    assert outcome.error is None
    assert outcome.image == str(cells)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["cells.npy", *(Path(p).name for p in outcome.outputs)]
    )


def test_outputs_say_which_model_made_them(tmp_path, cells, small_model):
    h5py = pytest.importorskip("h5py")
    model = small_model()
    api.predict(model, cells, output=f"{tmp_path}/out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        attributes = dict(file["exported_data"].attrs)
    assert json.loads(attributes["gpuseg"])["model"] == model.hash
    assert json.loads(attributes["channel_names"]) == ["ground", "cell"]
    assert attributes["drange"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("axes", "shape", "out", "result"),
    [
        ("cyx", (3, 30, 40), "cyx", (2, 30, 40)),
        ("yxc", (30, 40, 3), "yxc", (30, 40, 2)),
        ("tyx", (2, 30, 40), "tyxc", (2, 30, 40, 2)),
        ("xyt", (40, 30, 2), "xytc", (40, 30, 2, 2)),
        ("tzyxc", (1, 1, 30, 40, 3), "tzyxc", (1, 1, 30, 40, 2)),
    ],
)
def test_outputs_have_the_axes_of_their_image(tmp_path, small_image, small_model, axes, shape, out, result):
    np.save(tmp_path / "a.npy", small_image(shape))
    model = small_model("yxc" if "c" in axes else "yx")
    (outcome,) = api.predict(model, tmp_path / "a.npy", axes=axes)
    values, image = read(outcome.outputs[0])
    assert (image.axes, values.shape) == (out, result)


def test_pixel_sizes_are_carried_through(tmp_path, small_image, small_model):
    from gpuseg.axes import Voxel

    voxel = Voxel({"y": 0.5, "x": 0.25}, {"y": "micrometer", "x": "micrometer"})
    with create_image(tmp_path / "a.h5", Output((30, 40), np.dtype("u1"), "yx", voxel)) as writer:
        writer.write((slice(0, 30), slice(0, 40)), small_image((30, 40)))
    (outcome,) = api.predict(small_model(), tmp_path / "a.h5", output=f"{tmp_path}/{{nickname}}.tif")
    assert read(outcome.outputs[0])[1].voxel.size == {"y": 0.5, "x": 0.25}


def test_a_png_segmentation_has_label_values_and_a_coloured_twin(tmp_path, cells, small_model):
    template = "{dataset_dir}/{nickname}_seg.png"
    (outcome,) = api.predict(small_model(values=(1, 3)), cells, export="segmentation", output=template)
    labels, colors = (read(p)[0] for p in outcome.outputs)
    assert [Path(p).name for p in outcome.outputs] == ["cells_seg.png", "cells_seg_colors.png"]
    assert set(np.unique(labels)) == {1, 3}
    assert (colors[labels == 1] == (255, 225, 25)).all()
    assert (colors[labels == 3] == (230, 25, 75)).all()


def test_class_values_above_255_need_16_bits(tmp_path, cells, small_model):
    (outcome,) = api.predict(small_model(values=(1, 300)), cells, export=["segmentation"])
    values = read(outcome.outputs[0])[0]
    assert values.dtype == np.uint16
    assert set(np.unique(values)) == {1, 300}


def test_probabilities_can_be_stored_as_integers(tmp_path, cells, small_model):
    outcomes = [api.predict(small_model(), cells, dtype=d)[0] for d in (None,)]
    plain = read(outcomes[0].outputs[0])[0]
    (outcome,) = api.predict(small_model(), cells, dtype="uint8", output=f"{tmp_path}/small.h5")
    small = read(outcome.outputs[0])[0]
    assert small.dtype == np.uint8
    np.testing.assert_array_equal(small, np.rint(255 * plain))


def test_axes_that_a_file_does_not_name_are_those_of_training(tmp_path, small_image, small_model, caplog):
    np.save(tmp_path / "movie.npy", small_image((3, 30, 40)))
    model = small_model("tyx")
    with caplog.at_level(logging.INFO, "gpuseg"):
        (outcome,) = api.predict(model, tmp_path / "movie.npy")
    assert read(outcome.outputs[0])[1].axes == "tyxc"
    assert "movie.npy: 3 x 30 x 40, axes tyx (as in training)" in caplog.text


@pytest.mark.parametrize(
    ("axes", "shape", "message"),
    [
        ("yx", (30, 40), "image has 1 channels, model was trained on 3"),
        ("zyxc", (5, 30, 40, 3), r"image is 3D \(5 z slices\), model was trained on 2D"),
        ("yxc", (5, 40, 3), r"sigma 1\.6 needs 7 pixels along y, the image has 5"),
    ],
)
def test_an_image_that_does_not_fit_the_model_is_named_with_both(
    tmp_path, small_image, small_model, axes, shape, message
):
    np.save(tmp_path / "a.npy", small_image(shape))
    with pytest.raises(InputError, match=rf"a\.npy: {message}"):
        api.predict(small_model("yxc"), tmp_path / "a.npy", axes=axes)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


def test_a_bad_image_among_good_ones_is_skipped_and_told(tmp_path, small_image, small_model, caplog):
    for name in "abc":
        np.save(tmp_path / f"{name}.npy", small_image((30, 40)))
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY\x01")
    paths = [tmp_path / f"{name}.npy" for name in "abc"]
    outcomes = api.predict(small_model(), paths, on_error="skip")
    assert [bool(o.error) for o in outcomes] == [False, True, False]
    assert [r.message for r in caplog.records if r.levelno == logging.ERROR] == [str(outcomes[1].error)]
    assert sorted(p.name for p in tmp_path.glob("*.h5")) == ["a_Probabilities.h5", "c_Probabilities.h5"]


def test_a_bad_image_is_found_before_anything_is_computed(tmp_path, small_image, small_model):
    np.save(tmp_path / "a.npy", small_image((30, 40)))
    with pytest.raises(FileError, match=r"nothere\.tif"):
        api.predict(small_model(), [tmp_path / "a.npy", tmp_path / "nothere.tif"])
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_nan_pixels_leave_no_file_behind(tmp_path, small_image, small_model, on_error):
    image = small_image((30, 40)).astype("f4")
    image[20, 3] = np.nan
    np.save(tmp_path / "a.npy", image)
    message = r"a\.npy: 1 pixels are NaN.*first at y 20, x 3"
    if on_error == "stop":
        with pytest.raises(InputError, match=message):
            api.predict(small_model(), tmp_path / "a.npy")
    else:
        (outcome,) = api.predict(small_model(), tmp_path / "a.npy", on_error="skip")
        with pytest.raises(InputError, match=message):
            raise outcome.error
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


def test_cancelling_leaves_the_old_file(tmp_path, cells, small_model):
    target = tmp_path / "cells_Probabilities.h5"
    target.write_bytes(b"old")
    cancel = Event()
    cancel.set()
    with pytest.raises(Cancelled, match=r"cells\.npy: stopped after 0 of 1 tiles"):
        api.predict(small_model(), cells, cancel=cancel)
    assert target.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells.npy", target.name]


def test_an_old_result_is_replaced(tmp_path, cells, small_model):
    (tmp_path / "cells_Probabilities.h5").write_bytes(b"old")
    (outcome,) = api.predict(small_model(), cells)
    assert read(outcome.outputs[0])[0].shape == (40, 50, 2)


Disk = namedtuple("Disk", "free")


def test_a_full_disk_is_foreseen(tmp_path, cells, small_model, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Disk(10_000))
    with pytest.raises(ResourceError, match=r"the results need 16\.0 kB, the disk has 10\.0 kB free"):
        api.predict(small_model(), cells, on_error="skip")
    assert [p.name for p in tmp_path.iterdir()] == ["cells.npy"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_disk_that_fails_stops_the_run(tmp_path, small_image, small_model, monkeypatch, code):
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", small_image((30, 40)))

    def fail(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(ResourceError, match=os.strerror(code)) as caught:
        api.predict(small_model(), [tmp_path / "a.npy", tmp_path / "b.npy"], on_error="skip")
    assert caught.value.exit_code == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npy", "b.npy"]


@pytest.fixture
def stacks(tmp_path, small_image):
    """Two images of 3 slices with the same name."""
    for folder in "ab":
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "x.npy", small_image((3, 30, 40)))
    return [tmp_path / "a/x.npy", tmp_path / "b/x.npy"]


SEQUENCE = {"format": "png sequence", "export": ["segmentation"]}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("{nickname}.h5", {}),
        ("{nickname}_{x_stop}_{roi}.h5", {}),
        ("{nickname}_{slice_index}.png", SEQUENCE),
    ],
    ids=["file", "places", "sequence"],
)
def test_collisions_are_refused_before_anything_is_computed(tmp_path, stacks, small_model, name, options):
    with pytest.raises(InputError, match=r"of .*b/x.npy would overwrite the .* of .*a/x.npy"):
        api.predict(small_model("zyx"), stacks, output=f"{tmp_path}/{name}", **options)
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == ["x.npy", "x.npy"]


def test_a_slice_of_a_sequence_must_not_replace_an_input(tmp_path, small_image, small_model):
    from PIL import Image

    Image.fromarray(small_image((30, 40))).save(tmp_path / "a_0001.png")
    np.save(tmp_path / "a.npy", small_image((3, 30, 40)))
    inputs = [tmp_path / "a.npy", tmp_path / "a_0001.png"]
    with pytest.raises(InputError, match=r"segmentation of .*a\.npy would overwrite the input .*a_0001\.png"):
        api.predict(
            *(small_model("zyx"), inputs),
            output="{dataset_dir}/{nickname}_{slice_index}.png",
            on_error="skip",
            **SEQUENCE,
        )


def test_a_coloured_twin_must_not_replace_an_input(tmp_path, small_image, small_model):
    from PIL import Image

    Image.fromarray(small_image((30, 40))).save(tmp_path / "seg_colors.png")
    with pytest.raises(InputError, match=r"would overwrite the input .*seg_colors\.png"):
        api.predict(
            small_model(), f"{tmp_path}/seg_colors.png", export=["segmentation"], output=f"{tmp_path}/seg.png"
        )


def test_a_sequence_has_a_file_for_each_slice_and_each_has_its_coloured_twin(tmp_path, stacks, small_model):
    whole = api.predict(small_model("zyx"), stacks[0], export=["segmentation"], output=f"{tmp_path}/o.npy")
    (outcome,) = api.predict(small_model("zyx"), stacks[0], **SEQUENCE)
    assert [Path(p).name for p in outcome.outputs] == [
        f"x_Simple Segmentation_{i:04}{twin}.png" for twin in ("", "_colors") for i in range(3)
    ]
    found = np.stack([read(p)[0] for p in outcome.outputs[:3]])
    np.testing.assert_array_equal(found, read(whole[0].outputs[0])[0])
    assert read(outcome.outputs[3])[0].shape == (30, 40, 3)


def test_all_settings_together(tmp_path, cells, small_model):
    plain = read(api.predict(small_model(), cells)[0].outputs[0])[0]
    (outcome,) = api.predict(
        *(small_model(), cells),
        output=f"{tmp_path}/{{nickname}}_{{y_start}}.tif",
        format="numpy",
        cutout="y:7:,c:1:,x::9",
        renormalise=(0, 1, 0, 1000),
        dtype="int16",
        axis_order="zxy",
    )
    assert outcome.outputs == (f"{tmp_path}/cells_7.npy",)
    part = plain[7:, :9, 1].T[None]
    np.testing.assert_array_equal(np.load(outcome.outputs[0]), np.rint(part * np.float32(1000)).astype("i2"))
    assert np.load(outcome.outputs[0]).dtype == np.int16


def test_what_a_type_loses_is_warned_of_once_for_each_result(cells, small_model, caplog):
    api.predict(small_model(), cells, export=["features", "uncertainty", "segmentation"], dtype="int8")
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert sum("Features.h5: " in w and "lost their fraction" in w for w in warned) == 1
    assert sum("Features.h5: " in w and "beyond -128 to 127" in w for w in warned) == 1
    assert sum("Uncertainty.h5: " in w for w in warned) <= 1
    assert not any("Segmentation" in w for w in warned)


def test_a_disk_too_small_for_all_but_the_cutout_is_enough(cells, small_model, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Disk(10_000))
    (outcome,) = api.predict(small_model(), cells, cutout={"y": (0, 10)})
    assert read(outcome.outputs[0])[0].shape == (10, 50, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"export": []}, "nothing to export"),
        ({"export": ["everything"]}, "unknown export 'everything'"),
        ({"output": "x.docx"}, "no image format has the suffix '.docx'"),
        ({"export": ["object predictions"]}, "'object predictions' is a result of objects"),
        ({"output": "{rio}.h5"}, r"unknown placeholder \{rio\}"),
        ({"output": "{slice_index}.h5"}, r"\{slice_index\} numbers the files of a sequence"),
        ({"output": "a.png", "format": "png sequence"}, "nothing in the name tells them apart"),
        ({"format": "docx"}, "no format is called 'docx'"),
        ({"format": "bmp"}, "BMP holds uint8"),
        ({"dtype": "int7"}, "unknown type 'int7'"),
        ({"cutout": "x:3"}, "'x:3' is not AXIS:START:STOP"),
        ({"cutout": "x:90:"}, r"cells\.npy: cutout x:90: leaves nothing of x 0 to 50"),
        ({"renormalise": "0,1"}, "four numbers are needed"),
        ({"axis_order": "yx"}, "axis order 'yx' has no c, of which probabilities have 2"),
        ({"export": ["labels"]}, "labels cannot be exported from a .gpuseg model"),
        ({"backend": "abacus"}, "unknown backend 'abacus'"),
    ],
)
def test_a_wrong_request_is_refused(cells, small_model, options, message):
    with pytest.raises(InputError, match=message):
        api.predict(small_model(), cells, **options)


def test_float_results_do_not_go_into_a_png(tmp_path, cells, small_model):
    with pytest.raises(InputError, match=r"out\.png.*PNG holds uint8"):
        api.predict(small_model(), cells, output=f"{tmp_path}/out.png")


def test_a_model_file_predicts_as_the_model_in_memory(tmp_path, cells, small_model):
    model = small_model()
    model.save(tmp_path / "m.gpuseg")
    in_memory, in_file = (
        read(api.predict(m, cells, output=f"{tmp_path}/{k}.h5")[0].outputs[0])[0]
        for k, m in enumerate((model, tmp_path / "m.gpuseg"))
    )
    np.testing.assert_array_equal(in_memory, in_file)


def test_a_model_that_is_none_is_refused(tmp_path, cells):
    with pytest.raises(FileError, match=r"nothere\.gpuseg: no such file"):
        api.predict(tmp_path / "nothere.gpuseg", cells)
    with pytest.raises(ModelError, match=r"cells\.npy: is no gpuseg model"):
        api.predict(cells, cells)


def test_a_result_in_place_of_the_model_is_refused(tmp_path, cells, shared):
    project = shared / "data/ilp/ilastik-api/PixelClass.ilp"
    copy = tmp_path / "p.ilp"
    copy.write_bytes(project.read_bytes())
    (tmp_path / "p.h5").symlink_to(copy)
    with pytest.raises(InputError, match=r"would overwrite the input .*p\.ilp"):
        api.predict(copy, cells, output=f"{tmp_path}/p.h5")


def test_a_project_predicts_its_image_and_exports_its_labels(tmp_path, shared):
    folder = shared / "data/ilp/ilastik-api"
    (outcome,) = api.predict(
        folder / "PixelClass.ilp",
        folder / "Data_1channel.png",
        export=["probabilities", "labels"],
        output=f"{tmp_path}/{{nickname}}_{{result_type}}.h5",
    )
    proba, labels = (read(p)[0] for p in outcome.outputs)
    expected = np.load(folder / "res-Data_1channel_pc1xyc.npy")
    np.testing.assert_allclose(proba, expected.reshape(proba.shape), atol=0.015)
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) == {0, 1, 2}
    painted = labels[..., 0] > 0
    assert (proba.argmax(-1)[painted] + 1 == labels[..., 0][painted]).mean() > 0.99


def test_labels_of_an_image_outside_the_project_are_refused(tmp_path, small_image, shared):
    np.save(tmp_path / "other.npy", small_image((128, 128)))
    with pytest.raises(
        InputError, match=r"other\.npy: is not an image of the project.*\n.*Data_1channel\.png"
    ):
        api.predict(
            shared / "data/ilp/ilastik-api/PixelClass.ilp",
            tmp_path / "other.npy",
            export=["probabilities", "labels"],
        )


def test_a_mismatch_is_a_model_mismatch(tmp_path, small_image, small_model):
    np.save(tmp_path / "a.npy", small_image((30, 40)))
    with pytest.raises(ModelMismatchError):
        api.predict(small_model("yxc"), tmp_path / "a.npy")


def test_an_image_too_large_for_memory_is_skipped(tmp_path, small_image, small_model, monkeypatch):
    from PIL import Image

    Image.fromarray(small_image((30, 40))).save(tmp_path / "a.png")
    Image.fromarray(small_image((200, 200))).save(tmp_path / "b.png")
    monkeypatch.setenv("GPUSEG_MAX_BYTES", "20000")
    large, small = api.predict(small_model(), [tmp_path / "b.png", tmp_path / "a.png"], on_error="skip")
    assert isinstance(large.error, ResourceError)
    assert small.error is None


@pytest.mark.parametrize("name", ["ä b – 中", "{x}[red]", "{result_type}", "n" * 200, "-e"])
def test_file_names_may_be_any(tmp_path, small_image, small_model, name):
    np.save(tmp_path / f"{name}.npy", small_image((30, 40)))
    (outcome,) = api.predict(small_model(), tmp_path / f"{name}.npy")
    assert outcome.outputs == (f"{tmp_path}/{name}_Probabilities.h5",)
    assert read(outcome.outputs[0])[0].shape == (30, 40, 2)


def test_a_name_that_gets_too_long_and_a_link_to_itself_are_skipped(tmp_path, small_image, small_model):
    long = tmp_path / f"{'n' * 250}.npy"
    np.save(long, small_image((30, 40)))
    (tmp_path / "loop.npy").symlink_to("loop.npy")
    too_long, loop = api.predict(small_model(), [long, tmp_path / "loop.npy"], on_error="skip")
    with pytest.raises(InputError, match="its name has 267 bytes, at most 255"):
        raise too_long.error
    with pytest.raises(FileError, match=r"loop\.npy: Too many levels of symbolic links"):
        raise loop.error
