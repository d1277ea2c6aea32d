"""From files of images to classified objects: `api.run`, `api.classify`, and what they refuse."""

import json
import logging
import re
from pathlib import Path
from threading import Event

import h5py
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from objects_scene import FEATURES, SEGMENT, drawn, load, store, trained

import gpuseg
from gpuseg import ObjectClassifier, ObjectLabels, Pipeline, api
from gpuseg.axes import Voxel
from gpuseg.errors import (
    Cancelled,
    FileError,
    InputError,
    LabelError,
    ModelMismatchError,
    ResourceError,
    ShapeError,
)
from gpuseg.export import RESULTS
from gpuseg.model import PixelModel
from gpuseg.objects.scratch import Scratch
from gpuseg.run import labelling, objects

OBJECTS = ["object predictions", "object probabilities", "object identities", "object uncertainty"]
EVERYTHING = [key for key in RESULTS if key != "labels"]


@pytest.fixture(scope="module")
def pipeline():
    return trained(drawn())


@pytest.fixture
def image(tmp_path):
    return store(tmp_path / "a.tif", drawn(), "yx")


def by_hand(pipeline, pixels, axes="yx", **how):
    """The same with the parts that gpuseg is made of, in memory."""
    model = gpuseg.PixelClassifier.from_model(pipeline.pixel, backend="cpu", axes=axes)
    found = gpuseg.segment(
        model.predict_proba(pixels), axes=f"{axes}c", backend="cpu", **pipeline.segmentation.arguments()
    )
    of_objects = ObjectClassifier.from_model(pipeline.objects, backend="cpu")
    table = gpuseg.measure(
        found, pixels, raw_axes=axes, features=FEATURES, margin=(5, 5, 2), backend="cpu", **how
    )
    return found, table, of_objects


def test_one_pass_gives_what_the_parts_give_one_after_the_other(tmp_path, pipeline, image):
    done = api.run(
        pipeline, image, export=EVERYTHING, table=True, output=f"{tmp_path}/{{result_type}}.h5", backend="cpu"
    )
    written = {Path(p).stem: load(p)[..., :] for p in done.outcomes[0].outputs}
    assert set(written) == {RESULTS[key].title for key in EVERYTHING}
    found, table, model = by_hand(pipeline, drawn())
    assert_array_equal(written["Object Identities"][..., 0], found.labels)
    proba = np.concatenate([np.zeros((1, 2), np.float32), model.predict_proba(table)])
    assert_array_equal(written["Object Probabilities"], proba[found.labels])
    predicted = np.r_[0, model.predict(table)]
    assert_array_equal(written["Object Predictions"][..., 0], predicted[found.labels])
    doubt = np.r_[np.float32(0), model.uncertainty(table)]
    assert_array_equal(written["Object Uncertainty"][..., 0], doubt[found.labels])
    for what in ("Predictions", "Probabilities"):
        assert_array_equal(written[f"Blockwise Object {what}"], written[f"Object {what}"])
    api.predict(
        pipeline.pixel,
        image,
        export=["probabilities", "segmentation", "uncertainty", "features"],
        output=f"{tmp_path}/by_predict_{{result_type}}.h5",
        backend="cpu",
    )
    for title in ("Probabilities", "Simple Segmentation", "Uncertainty", "Features"):
        assert_array_equal(written[title], load(tmp_path / f"by_predict_{title}.h5"))
    features = list(table.columns)
    pd.testing.assert_frame_equal(done.table[features], table, check_flags=False)


def test_the_table_has_ilastiks_columns_in_its_order(pipeline, image):
    table = api.run(pipeline, image, table=True, backend="cpu").table
    assert list(table.columns)[:9] == [
        *("object_id", "timestep", "labelimage_oid", "User Label", "Predicted Class"),
        *("Probability of small", "Probability of large", "Uncertainty", "Ambiguous"),
    ]
    assert list(table.columns)[9] == "Size in pixels"
    assert set(table["Predicted Class"]) == {"small", "large"}
    assert set(table["User Label"]) == {"0"}
    assert_array_equal(table["object_id"], np.arange(len(table)))
    proba = table[["Probability of small", "Probability of large"]].to_numpy()
    assert (np.array(["small", "large"])[proba.argmax(1)] == table["Predicted Class"]).all()
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-6)


@pytest.fixture
def sources(tmp_path, pipeline):
    """The same objects as probabilities, as a segmentation and as labels."""
    found, _, _ = by_hand(pipeline, drawn())
    proba = gpuseg.PixelClassifier.from_model(pipeline.pixel, backend="cpu").predict_proba(drawn())
    labels = found.labels.astype(np.uint16)
    return {
        "probabilities": store(tmp_path / "proba.h5", proba, "yxc", drange=(0, 1)),
        "segmentation": store(tmp_path / "mask.tif", (labels > 0).astype(np.uint8), "yx"),
        "labels": store(tmp_path / "labels.tif", np.where(labels, labels * 3 + 7, 0).astype(np.uint16), "yx"),
    }


@pytest.mark.parametrize("block", [None, (1, 16, 25)])
@pytest.mark.parametrize("kind", ["probabilities", "segmentation", "labels"])
def test_objects_may_come_from_other_files(tmp_path, pipeline, image, sources, kind, block):
    expected = api.run(
        pipeline, image, export=OBJECTS, output=f"{tmp_path}/run/{{result_type}}.h5", table=True
    )
    done = api.classify(
        pipeline,
        raw=image,
        export=OBJECTS,
        table=True,
        block=block,
        output=f"{tmp_path}/{{result_type}}.h5",
        **{kind: sources[kind]},
    )
    for one, other in zip(done.outcomes[0].outputs, expected.outcomes[0].outputs, strict=True):
        assert_array_equal(load(one), load(other))
    same = [c for c in done.table.columns if c != "original_oid"]
    pd.testing.assert_frame_equal(done.table[same], expected.table[same], rtol=1e-9, check_flags=False)
    ids = {"labels": done.table["labelimage_oid"] * 3 + 7, "segmentation": 1}
    assert_array_equal(done.table["original_oid"], ids.get(kind, done.table["labelimage_oid"]))


def test_probabilities_may_be_stored_in_any_range(tmp_path, pipeline, image, sources):
    stored = np.rint(load(sources["probabilities"]) * 200).astype(np.uint8)
    path = store(tmp_path / "200.npy", stored, "yxc")
    expected = store(tmp_path / "1.npy", stored / np.float32(200), "yxc")
    how = {"raw": image, "axes": "yxc", "table": True}
    found = api.classify(pipeline, probabilities=path, range=(0, 200), **how).table
    pd.testing.assert_frame_equal(found, api.classify(pipeline, probabilities=expected, **how).table)
    otherwise = api.classify(pipeline, probabilities=path, **how).table  # 255 stands for 1 then
    assert otherwise["Size in pixels"].sum() != found["Size in pixels"].sum()
    places = found[["Center of the object_1", "Center of the object_0"]]
    said = ObjectLabels.at_positions(places, found.index % 2 + 1)
    one = dict(
        object_labels=said, raw=image, features=["mean"], folds=0, trees=3, segment=SEGMENT, axes="yxc"
    )
    models = [
        api.train_objects(probabilities=p, range=r, **one) for p, r in ((path, (0, 200)), (expected, None))
    ]
    assert models[0].hash == models[1].hash
    with pytest.raises(InputError, match="range 3 to 2; the second must be above"):
        api.classify(pipeline, probabilities=path, range=(3, 2), **how)


def test_a_segmentation_of_several_values_keeps_them_apart(tmp_path, pipeline):
    values = np.zeros((40, 60), np.uint16)
    values[5:15, 5:20], values[5:15, 20:40], values[20:30, 5:20] = 7, 9, 7
    path = store(tmp_path / "s.tif", values, "yx")
    found = [
        api.classify(
            Pipeline(),
            segmentation=path,
            table=True,
            block=b,
            export=["object identities"],
            output=f"{tmp_path}/{i}.tif",
        )
        for i, b in enumerate((None, 8))
    ]
    for one in found:
        assert one.table["original_oid"].tolist() == [7, 9, 7]
        assert one.table["Size in pixels"].tolist() == [150, 200, 150]
    assert_array_equal(*(load(f.outcomes[0].outputs[0]) for f in found))


def random_case(rng):
    ndim = int(rng.integers(2, 4))
    shape = tuple(int(n) for n in (rng.integers(24, 70, 2) if ndim == 2 else rng.integers(8, 26, 3)))
    block = tuple(int(rng.integers(5, n + 5)) for n in ((1,) * (3 - ndim) + shape))
    return shape, "zyx"[-ndim:], (1, *block[1:]) if ndim == 2 else block


def check_blocks(folder, pipelines, seed):
    rng = np.random.default_rng(seed)
    shape, axes, block = random_case(rng)
    image = store(folder / f"{seed}.npy", drawn(shape, seed, count=int(rng.integers(0, 18))), axes)
    whole, tiled = (
        api.run(
            pipelines[axes],
            image,
            axes=axes,
            export=[*OBJECTS, "probabilities"],
            table=True,
            block=b,
            output=f"{folder}/{seed}/{i}/{{result_type}}.npy",
            backend="cpu",
        )
        for i, b in enumerate((None, block))
    )
    for one, other in zip(whole.outcomes[0].outputs, tiled.outcomes[0].outputs, strict=True):
        assert_array_equal(load(one), load(other), err_msg=f"{Path(one).stem}: {shape} in {block}")
    exact = [c for c in whole.table if whole.table[c].dtype.kind in "iuO" and "Probability" not in c]
    pd.testing.assert_frame_equal(tiled.table[exact], whole.table[exact])
    pd.testing.assert_frame_equal(tiled.table, whole.table, rtol=1e-6, atol=1e-6, check_dtype=False)
    return len(whole.table)


@pytest.fixture(scope="module")
def pipelines(pipeline):
    return {"yx": pipeline, "zyx": trained(drawn((24, 48, 52), count=16), "zyx")}


def test_blocks_change_nothing(tmp_path, pipelines):
    counts = [check_blocks(tmp_path, pipelines, seed) for seed in range(100)]
    assert max(counts) > 5
    assert min(counts) == 0  # an image without objects is among them


@pytest.mark.soak
def test_a_thousand_blocks_change_nothing(tmp_path, pipelines):
    for seed in range(100, 1100):
        check_blocks(tmp_path, pipelines, seed)


def test_a_gpu_gives_what_the_cpu_gives(tmp_path, pipeline, image, host_cuda):
    cpu, gpu, tiled = (
        api.run(
            pipeline,
            image,
            export=OBJECTS,
            table=True,
            block=block,
            output=f"{tmp_path}/{i}/{{result_type}}.npy",
            backend=backend,
        )
        for i, (backend, block) in enumerate((("cpu", None), ("cuda", None), ("cuda", (1, 32, 32))))
    )
    for other in (gpu, tiled):
        for one, two in zip(cpu.outcomes[0].outputs, other.outcomes[0].outputs, strict=True):
            np.testing.assert_allclose(load(one), load(two), atol=1e-6, err_msg=Path(one).stem)
        pd.testing.assert_frame_equal(cpu.table, other.table, rtol=1e-6, atol=1e-6)


def test_on_a_gpu_probabilities_and_labels_stay_there(tmp_path, pipeline, image, host_cuda, monkeypatch):
    downloads = []
    from gpuseg.backends.cuda import CudaBackend

    original = CudaBackend.to_numpy

    def counted(self, x):
        downloads.append((x.shape, x.dtype.name))
        return original(self, x)

    monkeypatch.setattr(CudaBackend, "to_numpy", counted)
    api.run(pipeline, image, output=f"{tmp_path}/{{result_type}}.npy", backend="cuda")
    planes = [(s, d) for s, d in downloads if len(s) > 2 and np.prod(s) >= 60 * 80]
    assert ((1, 60, 80), "int32") not in planes or planes.count(((1, 60, 80), "int32")) <= 1  # for the hull
    assert not [s for s, d in planes if d == "float32"]  # no probabilities
    assert [s for s, d in planes if d == "uint8"]  # the predictions


def test_time_points_are_independent_and_may_be_empty(tmp_path, pipeline):
    movie = np.stack([drawn(seed=1), np.full((60, 80), 20, np.uint8), drawn(seed=2)])
    path = store(tmp_path / "m.h5", movie, "tyx")
    done = api.run(pipeline, path, export=OBJECTS, table=True, output=f"{tmp_path}/{{result_type}}.h5")
    ids = load(f"{tmp_path}/Object Identities.h5")[..., 0]
    assert ids[1].max() == 0
    assert set(done.table["timestep"]) == {0, 2}
    for t in (0, 2):
        alone = store(tmp_path / f"{t}.h5", movie[t], "yx")
        one = api.run(pipeline, alone, table=True).table
        rows = done.table[done.table["timestep"] == t].reset_index(drop=True)
        same = [c for c in one if c not in ("object_id", "timestep")]
        pd.testing.assert_frame_equal(rows[same], one[same], check_flags=False)
        assert ids[t].max() == len(one)


def test_odd_orders_of_axes_are_kept(tmp_path, pipeline):
    movie = np.stack([drawn(seed=1), drawn(seed=2)])
    usual = store(tmp_path / "u.h5", movie, "tyx")
    odd = store(tmp_path / "o.h5", np.ascontiguousarray(movie.transpose(2, 0, 1)[..., None]), "xtyc")
    template = f"{tmp_path}/{{nickname}}_{{result_type}}.h5"
    api.run(pipeline, [usual, odd], output=template)
    plain, turned = (load(f"{tmp_path}/{n}_Object Predictions.h5") for n in "uo")
    assert_array_equal(turned[..., 0].transpose(1, 2, 0), plain[..., 0])


def test_axes_that_a_file_does_not_name_are_those_of_training(tmp_path, caplog):
    movie = np.stack([drawn(seed=1), drawn(seed=2), drawn(seed=3)])
    np.save(tmp_path / "movie.npy", movie)
    with caplog.at_level(logging.INFO, "gpuseg"):
        table = api.run(trained(movie, "tyx"), tmp_path / "movie.npy", table=True).table
    assert set(table["timestep"]) == {0, 1, 2}
    assert "movie.npy: 3 x 60 x 80, axes tyx (as in training)" in caplog.text


def test_images_without_objects_change_nothing_for_those_after(tmp_path, pipeline):
    paths = [
        store(tmp_path / "0.tif", np.full((60, 80), 20, np.uint8), "yx"),
        store(tmp_path / "1.tif", drawn(), "yx"),
        store(tmp_path / "2.tif", np.full((30, 30), 20, np.uint8), "yx"),
    ]
    for suffix in ("csv", "h5", "parquet"):
        api.run(pipeline, paths, table=tmp_path / f"all.{suffix}")
        api.run(pipeline, paths[0], table=tmp_path / f"none.{suffix}")
    all_, alone = pd.read_parquet(tmp_path / "all.parquet"), pd.read_parquet(tmp_path / "none.parquet")
    assert set(all_["image"]) == {paths[1]}
    assert len(alone) == 0
    assert list(alone.columns) == [c for c in all_.columns if c != "image"]
    assert list(pd.read_csv(tmp_path / "none.csv").columns) == list(alone.columns)
    with h5py.File(tmp_path / "none.h5") as file:
        assert file["table"].shape == (0,)
        assert file["table"].dtype.names == tuple(alone.columns)
    pd.testing.assert_frame_equal(
        all_.drop(columns="image"),
        api.run(pipeline, paths[1], table=True).table,
        check_flags=False,
        check_dtype=False,
    )


def test_a_blockwise_result_as_ilastik_makes_it_cuts_objects(tmp_path):
    labels = np.zeros((20, 64), np.uint8)
    labels[5:9, 4:60], labels[12:16, 2:8], labels[12:16, 40:46] = 1, 2, 3
    table = gpuseg.measure(labels, features=["count"], backend="cpu")
    model = ObjectClassifier(classes=["small", "large"], n_estimators=5).fit(table, [2, 1, 0])
    path = store(tmp_path / "l.tif", labels, "yx")
    how = dict(
        labels=path, export=["blockwise object predictions", "object predictions"], block=(1, 32, 16), halo=2
    )
    exact, cut = (
        api.classify(model, blockwise=mode, output=f"{tmp_path}/{mode}/{{result_type}}.tif", **how)
        for mode in ("exact", "ilastik")
    )
    blockwise, whole = (load(p) for p in cut.outcomes[0].outputs)
    assert_array_equal(whole, np.r_[0, 2, 1, 1][labels])
    assert_array_equal(load(exact.outcomes[0].outputs[0]), whole)
    pieces = [min(64, x + 16 + 2) - max(0, x - 2) for x in range(0, 64, 16)]
    assert_array_equal(np.unique(blockwise[5:9, 4:60]), [1])  # each piece alone is small
    assert max(pieces) * 4 < 56 * 4


def test_touching_labels_merge_as_ilastik_makes_it(tmp_path):
    labels = np.zeros((20, 30), np.uint8)
    labels[4:8, 4:10], labels[4:8, 10:26] = 1, 2
    model = ObjectClassifier(n_estimators=5).fit(gpuseg.measure(labels, features=["count"]), [1, 2])
    path = store(tmp_path / "l.tif", labels, "yx")
    (done,) = api.classify(
        model,
        labels=path,
        export="blockwise object predictions",
        blockwise="ilastik",
        output=f"{tmp_path}/o.tif",
    ).outcomes
    assert_array_equal(np.unique(load(done.outputs[0])[4:8, 4:26]), [2])


def test_what_people_said_is_in_the_table_and_what_no_object_has_is_told(tmp_path, pipeline, image, caplog):
    found, table, _ = by_hand(pipeline, drawn())
    labels = ObjectLabels.of(found.labels, {1: "large", 3: "small"}, names=["small", "large"])
    nowhere = tuple(np.argwhere(found.labels == 0)[0])
    more = ObjectLabels.at_positions([nowhere], ["small"], names=["small", "large"])
    with caplog.at_level(logging.WARNING, "gpuseg"):
        done = api.run(pipeline, image, table=True, object_labels=labels.join(more))
    assert done.table["User Label"].tolist()[:4] == ["large", "0", "small", "0"]
    assert len(done.table) == len(table)
    assert [m for m in caplog.messages if "a label is not used" in m and "there is no object" in m]


def test_labels_of_several_images_go_to_theirs(tmp_path, pipeline, image, caplog):
    other = store(tmp_path / "b.tif", drawn(seed=5), "yx")
    said = tmp_path / "said.csv"
    said.write_text("image,id,class\na.tif,1,large\nb,2,small\nc.tif,1,small\n")
    with caplog.at_level(logging.WARNING, "gpuseg"):
        table = api.run(pipeline, [image, other], table=True, object_labels=said).table
    first, second = (table[table["image"] == p]["User Label"].tolist() for p in (image, other))
    assert first[:2] == ["large", "0"]
    assert second[:2] == ["0", "small"]
    assert "object labels of images that are not given are not used: c.tif" in caplog.text
    said.write_text("id,class\n1,large\n")
    with pytest.raises(LabelError, match="do not say of which of 2 images"):
        api.run(pipeline, [image, other], table=True, object_labels=said)


def test_settings_of_exports_hold_for_objects(tmp_path, pipeline, image):
    whole = {}
    for key in OBJECTS:
        (one,) = api.run(pipeline, image, export=key, output=f"{tmp_path}/whole.npy").outcomes
        whole[key] = load(one.outputs[0])
    (cut,) = api.run(
        pipeline, image, export=OBJECTS, cutout="x:10:40,y:5:", output=f"{tmp_path}/cut_{{result_type}}.npy"
    ).outcomes
    for key, path in zip(OBJECTS, cut.outputs, strict=True):
        assert_array_equal(load(path), whole[key][5:, 10:40])
    (small,) = api.run(
        pipeline, image, export="object probabilities", dtype="uint8", output=f"{tmp_path}/small.npy"
    ).outcomes
    assert_array_equal(load(small.outputs[0]), np.rint(np.float32(255) * whole["object probabilities"]))
    (turned,) = api.run(
        pipeline, image, export="object probabilities", axis_order="cyx", output=f"{tmp_path}/turned.npy"
    ).outcomes
    assert_array_equal(load(turned.outputs[0]), whole["object probabilities"].transpose(2, 0, 1))


def test_pixel_size_names_and_origin_go_with_the_results(tmp_path, pipeline):
    voxel = Voxel({"y": 0.5, "x": 0.25}, {"y": "micrometer", "x": "micrometer"})
    path = store(tmp_path / "v.tif", drawn(), "yx", voxel=voxel)
    (done,) = api.run(pipeline, path, export=OBJECTS, output=f"{tmp_path}/{{result_type}}.zarr").outcomes
    with gpuseg.open_image(done.outputs[1]) as image:
        assert image.voxel.size["x"] == 0.25
    block = json.loads((tmp_path / "Object Probabilities.zarr" / "zarr.json").read_text())["attributes"]
    assert [c["label"] for c in block["ome"]["omero"]["channels"]] == ["small", "large"]
    told = json.loads(block["gpuseg"]["provenance"])
    assert told["model"] == pipeline.hash
    assert told["result"] == "Object Probabilities"


def test_pictures_of_objects_go_into_the_table(tmp_path, pipeline, image):
    other = store(tmp_path / "b.tif", drawn(seed=3), "yx")
    api.run(pipeline, [image, other], table=tmp_path / "t.h5", pictures=True, picture_margin=1)
    with h5py.File(tmp_path / "t.h5") as file:
        table = file["table"][:]
        assert set(file["images"]) == {str(i) for i in table["object_id"]}
        for row in table:
            cut = file["images"][str(row["object_id"])]
            assert cut["labeling"][:].sum() == row["Size in pixels"]
            assert cut["labeling"].shape == cut["raw"].shape[:2]
            y, x = (int(row[f"Bounding Box Minimum_{k}"]) for k in (1, 0))
            pixels = load(row["image"].decode())
            assert cut["raw"][min(1, y), min(1, x)] == pixels[y, x]


def test_work_can_be_watched_and_stopped(tmp_path, pipeline, image):
    seen = []
    api.run(pipeline, image, table=True, block=(1, 20, 30), progress=lambda *call: seen.append(call))
    parts = [done for _, done, _ in seen]
    assert parts == sorted(parts)
    assert (seen[0][0], seen[0][1]) == (image, 0)
    assert seen[-1][1] == seen[-1][2]
    assert len(seen) > 10
    for stop_at in (0, len(seen) // 3, 2 * len(seen) // 3):
        cancel, left = Event(), [stop_at]

        def tell(*call, left=left, cancel=cancel):
            left[0] -= 1
            if left[0] < 0:
                cancel.set()

        with pytest.raises(Cancelled, match=r"a\.tif: stopped after"):
            api.run(
                pipeline,
                image,
                table=tmp_path / "t.csv",
                export=OBJECTS,
                block=(1, 20, 30),
                progress=tell,
                cancel=cancel,
                output=f"{tmp_path}/{{result_type}}.h5",
            )
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tif"]


def test_one_bad_file_does_not_stop_the_others(tmp_path, pipeline, image, caplog):
    bad = tmp_path / "bad.tif"
    bad.write_bytes(b"II*\0 no image")
    color = store(tmp_path / "color.tif", np.zeros((30, 30, 3), np.uint8), "yxc")
    nan = np.full((30, 30), np.nan, np.float32)
    late = store(tmp_path / "nan.tif", nan, "yx")
    paths = [str(bad), image, color, late]
    done = api.run(pipeline, paths, table=tmp_path / "t.csv", export=OBJECTS, on_error="skip", axes=None)
    assert [type(o.error) for o in done.outcomes] == [FileError, type(None), ModelMismatchError, InputError]
    assert done.table.attrs["failed"] == [str(bad), color, late]
    assert set(pd.read_csv(tmp_path / "t.csv")["image"]) == {image}
    with pytest.raises(FileError, match=r"bad\.tif"):
        api.run(pipeline, paths, table=True)
    (alone,) = api.run(pipeline, late, on_error="skip").outcomes
    assert "NaN" in alone.error.problem
    assert not list(tmp_path.glob("nan_*"))


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"export": ["labels"]}, InputError, "'labels' cannot be made here"),
        ({"export": ["pictures"]}, InputError, "unknown export 'pictures'"),
        ({"table": "t.xls"}, InputError, "no table has the suffix '.xls'"),
        ({"report": "r.pdf"}, InputError, "no report has the suffix '.pdf'"),
        ({"pictures": True}, InputError, "pictures of objects are kept in an HDF5 table"),
        ({"pictures": True, "table": "t.csv"}, InputError, "a .csv table holds no pictures of objects"),
        ({"block": 0}, InputError, "block 0"),
        ({"block": (1, 2, 3, 4)}, InputError, "block"),
        ({"halo": -1, "blockwise": "ilastik"}, InputError, "halo -1"),
        ({"blockwise": "fast"}, InputError, "blockwise 'fast'"),
        ({"segment": {"threshold": 2}}, InputError, "threshold 2 is outside"),
        ({"segment": {"channel": 5}}, InputError, "channel 5 of an image with 2 channels"),
        ({"features": ["roundness"], "table": True}, InputError, "unknown object feature 'roundness'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    tmp_path, pipeline, image, monkeypatch, how, error, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(labelling, "stream", None)
    with pytest.raises(error, match=message):
        api.run(pipeline, image, **how)


def test_files_that_do_not_fit_each_other_are_refused(tmp_path, pipeline, image, sources):
    with pytest.raises(InputError, match="0 of probabilities, segmentation and labels are given"):
        api.classify(pipeline, raw=image)
    with pytest.raises(InputError, match="2 of probabilities, segmentation and labels are given"):
        api.classify(pipeline, raw=image, labels=sources["labels"], segmentation=sources["segmentation"])
    with pytest.raises(InputError, match="2 raw images and 1 files of labels"):
        api.classify(pipeline, raw=[image, image], labels=sources["labels"])
    small = store(tmp_path / "small.tif", np.zeros((10, 10), np.uint8), "yx")
    with pytest.raises(ShapeError, match=r"small\.tif"):
        api.classify(pipeline, raw=small, labels=sources["labels"])
    with pytest.raises(ModelMismatchError, match=r"raw image has 0 channels, .* trained on 1 channel"):
        api.classify(pipeline, labels=sources["labels"])
    with pytest.raises(InputError, match=r"labels\.tif: is named twice"):
        api.classify(pipeline, raw=[image] * 2, labels=[sources["labels"]] * 2)
    with pytest.raises(InputError, match="'probabilities' cannot be made here"):
        api.classify(pipeline, raw=image, labels=sources["labels"], export="probabilities")


def test_one_image_may_lie_under_several_label_images(tmp_path, pipeline, image, sources):
    other = store(tmp_path / "more.tif", load(sources["labels"])[::-1].copy(), "yx")
    table = api.classify(pipeline, raw=[image] * 2, labels=[sources["labels"], other], table=True).table
    assert list(dict.fromkeys(table["image"])) == [sources["labels"], other]


def test_a_pipeline_that_lacks_a_stage_says_which(tmp_path, pipeline, image, sources):
    objects_only = Pipeline(objects=pipeline.objects)
    with pytest.raises(InputError, match="has no pixel classifier"):
        api.run(objects_only, image)
    with pytest.raises(InputError, match="does not say how probabilities become objects"):
        api.classify(objects_only, raw=image, probabilities=sources["probabilities"])
    no_objects = Pipeline(pipeline.pixel, pipeline.segmentation)
    with pytest.raises(InputError, match="'object predictions' needs an object classifier"):
        api.run(no_objects, image, export="object predictions")
    (done,) = api.run(no_objects, image, output=f"{tmp_path}/{{result_type}}.tif").outcomes
    assert Path(done.outputs[0]).name == "Object Identities.tif"
    objects_only.save(tmp_path / "o.gpuseg")
    with pytest.raises(gpuseg.model.files.ModelError, match=r"o\.gpuseg: has no pixel classifier"):
        api.predict(tmp_path / "o.gpuseg", image)


def test_results_never_overwrite_each_other_or_an_input(tmp_path, pipeline, image):
    other = store(tmp_path / "sub" / "a.tif", drawn(), "yx")
    with pytest.raises(InputError, match="would overwrite"):
        api.run(pipeline, [image, other], output=f"{tmp_path}/{{nickname}}.h5")
    with pytest.raises(InputError, match="would overwrite"):
        api.run(pipeline, image, export=OBJECTS, output=f"{tmp_path}/one.h5")
    with pytest.raises(InputError, match="would overwrite the input"):
        api.run(pipeline, image, output=image)
    with pytest.raises(InputError, match="would overwrite"):
        api.run(pipeline, image, table=tmp_path / "x.h5", export=OBJECTS[0], output=f"{tmp_path}/x.h5")


def test_a_pipeline_is_one_file_that_every_verb_reads(tmp_path, pipeline, image):
    path = tmp_path / "all.gpuseg"
    pipeline.save(path)
    here, there = (
        api.run(model, image, table=True, export=OBJECTS[0], output=f"{tmp_path}/{i}.npy")
        for i, model in enumerate((pipeline, path))
    )
    pd.testing.assert_frame_equal(here.table, there.table)
    assert (tmp_path / "0.npy").read_bytes() == (tmp_path / "1.npy").read_bytes()
    by_pipeline, by_model = (
        api.predict(m, image, output=f"{tmp_path}/p{i}.npy")[0].outputs[0]
        for i, m in enumerate((path, pipeline.pixel))
    )
    assert Path(by_pipeline).read_bytes() == Path(by_model).read_bytes()
    told = api.info(path)
    assert told["kind"] == "pipeline"
    assert told["hash"] == pipeline.hash
    assert set(told) >= {"pixels", "segmentation", "objects"}
    with pytest.raises(
        gpuseg.model.files.ModelError, match="is a 'pipeline', a 'pixel classifier' is needed"
    ):
        PixelModel.load(path)


def test_only_what_the_forest_uses_is_measured_where_nobody_wants_a_table(
    tmp_path, pipeline, image, monkeypatch
):
    table = gpuseg.measure(*by_hand(pipeline, drawn())[0:1], drawn(), features=FEATURES, margin=(5, 5, 2))
    model = ObjectClassifier(["mean", "count"], n_estimators=5).fit(table, np.arange(len(table)) % 3)
    small = Pipeline(pipeline.pixel, SEGMENT, model)
    asked = []
    original = objects.at_once
    monkeypatch.setattr(
        objects, "at_once", lambda source, *rest: asked.append(source.plan.rows) or original(source, *rest)
    )
    (quick,) = api.run(small, image, output=f"{tmp_path}/q.npy").outcomes
    (full,) = api.run(
        small, image, export="object predictions", table=True, output=f"{tmp_path}/f.npy"
    ).outcomes
    assert [len(rows) for rows in asked] == [2, len(FEATURES)]
    assert Path(quick.outputs[0]).read_bytes() == Path(full.outputs[0]).read_bytes()


def test_lengths_are_measured_as_in_training(tmp_path):
    voxel = Voxel({"y": 0.5, "x": 0.5}, {"y": "micrometer", "x": "micrometer"})
    labels = np.zeros((30, 60), np.uint8)
    for i in range(6):
        labels[2 : 6 + 3 * (i % 2), 10 * i + 1 : 10 * i + 8] = i + 1
    scaled = store(tmp_path / "um.tif", labels, "yx", voxel=voxel)
    plain = store(tmp_path / "px.tif", labels, "yx")
    said = tmp_path / "said.csv"
    said.write_text("id,class\n1,low\n2,high\n3,low\n4,high\n")
    model = api.train_objects(
        labels=scaled, object_labels=said, features=["count", "radii"], spacing="file", folds=0
    )
    assert model.objects.measured.unit == "µm"
    assert "Size (µm²)" in model.objects.columns
    table = api.classify(model, labels=scaled, table=True).table
    assert table["Predicted Class"].tolist() == ["low", "high"] * 3
    assert_array_equal(table["Size (µm²)"], table["Size in pixels"] / 4)
    with pytest.raises(InputError, match=r"px\.tif: the file does not say how large a pixel is"):
        api.classify(model, labels=plain, table=True)


FULL = {
    "pixels": {},
    "pixels, blocks": {"block": (1, 32, 40)},
    "probabilities": {},
    "probabilities, blocks": {"block": (1, 32, 40)},
    "segmentation": {},
    "segmentation, blocks": {"block": (1, 32, 40)},
    "labels": {},
    "labels, blocks": {"block": (1, 32, 40)},
    "labels, as ilastik": {"block": (1, 32, 40), "blockwise": "ilastik", "halo": 3},
}


@pytest.mark.parametrize("case", FULL)
def test_a_gpu_that_is_full_at_any_moment_gives_the_same(
    tmp_path, pipeline, image, sources, host_cuda, caplog, case
):
    """The k-th allocation fails, for many k: the run goes on in tiles, on the host, or on the CPU."""
    count, kind = 0, case.split(",")[0]
    how = FULL[case] | {"export": ["object identities", "blockwise object predictions"], "table": True}

    def fails_at(k):
        def rule(size):
            nonlocal count
            count += 1
            return count - 1 == k

        return rule

    def run(k):
        nonlocal count
        count, host_cuda.failing = 0, fails_at(k)
        more = how | {"output": f"{tmp_path}/{k}/{{result_type}}.npy", "backend": "cuda"}
        if kind == "pixels":
            found = api.run(pipeline, image, **more)
        else:
            found = api.classify(pipeline, raw=image, **{kind: sources[kind]}, **more)
        return [load(p) for p in found.outcomes[0].outputs], found.table

    expected, table = run(-1)
    allocations = count
    for k in range(0, allocations, max(1, allocations // 12)):
        made, measured = run(k)
        for one, other in zip(made, expected, strict=True):
            assert_array_equal(one, other)
        pd.testing.assert_frame_equal(measured, table, rtol=1e-6, atol=1e-6)
    assert "going on in tiles" in caplog.text or "measured on the CPU" in caplog.text


def test_a_gpu_that_stays_full_leaves_the_work_to_the_cpu(
    tmp_path, pipeline, image, sources, host_cuda, monkeypatch
):
    expected = api.classify(pipeline, raw=image, labels=sources["labels"], table=True, backend="cpu").table
    host_cuda.failing = lambda size: size > 1000
    found = api.classify(pipeline, raw=image, labels=sources["labels"], table=True, backend="cuda").table
    pd.testing.assert_frame_equal(found, expected, rtol=1e-6, atol=1e-6)


def test_classes_as_a_picture_have_a_coloured_twin(tmp_path, pipeline, image):
    (done,) = api.run(pipeline, image, output=f"{tmp_path}/{{nickname}}.png").outcomes
    values, colors = map(load, done.outputs)
    assert Path(done.outputs[1]).name == "a_colors.png"
    palette = np.array([(0, 0, 0), *(c.color for c in pipeline.objects.classes)])
    assert_array_equal(colors, palette[values])


def test_labels_in_a_table_of_a_segmentation_go_back_to_their_objects(tmp_path, pipeline, image):
    """Values of a segmentation are no numbers of objects, even where each object has its own."""
    values = np.zeros((60, 80), np.uint8)
    for i, v in enumerate((3, 1, 4, 2)):
        values[5:20, 5 + 18 * i : 15 + 18 * i] = v
    path = store(tmp_path / "s.tif", values, "yx")
    table = api.classify(pipeline, raw=image, segmentation=path, table=tmp_path / "t.csv").table
    assert table["original_oid"].tolist() == [3, 1, 4, 2]
    said = pd.read_csv(tmp_path / "t.csv", dtype={"User Label": str})
    said["User Label"] = ["round", "long", "round", "long"]
    said.to_csv(tmp_path / "said.csv", index=False)
    again = api.classify(
        pipeline, raw=image, segmentation=path, table=True, object_labels=tmp_path / "said.csv"
    ).table
    assert again["User Label"].tolist() == ["round", "long", "round", "long"]


def test_labels_are_no_file_that_a_table_may_overwrite(tmp_path, pipeline, image):
    said = tmp_path / "said.csv"
    said.write_text("id,class\n1,large\n")
    with pytest.raises(InputError, match="would overwrite the input"):
        api.run(pipeline, image, table=said, object_labels=said)
    assert said.read_text() == "id,class\n1,large\n"


def test_labels_of_a_name_that_two_images_have_are_refused(tmp_path, pipeline):
    paths = [store(tmp_path / sub / "x.tif", drawn(seed=i), "yx") for i, sub in enumerate("pq")]
    said = tmp_path / "said.csv"
    said.write_text("image,id,class\nx.tif,1,large\n")
    with pytest.raises(LabelError, match=r"labels of 'x.tif' may be of 2 images: .*p/x.tif, .*q/x.tif"):
        api.run(pipeline, paths, table=True, object_labels=said)
    said.write_text(f"image,id,class\n{paths[1]},1,large\n")
    table = api.run(pipeline, paths, table=True, object_labels=said).table
    assert set(table[table["User Label"] == "large"]["image"]) == {paths[1]}


def test_an_image_that_fails_late_leaves_nothing_in_table_pictures_and_report(tmp_path, pipeline, image):
    movie = np.stack([drawn(seed=1), drawn(seed=2)]).astype(np.float32)
    movie[1, 5, 5] = np.nan
    bad = store(tmp_path / "bad.h5", movie, "tyx")
    done = api.run(
        pipeline,
        [bad, image],
        table=tmp_path / "t.h5",
        pictures=True,
        whole_image=True,
        report=tmp_path / "r.html",
        on_error="skip",
    )
    assert [o.error is None for o in done.outcomes] == [False, True]
    with h5py.File(tmp_path / "t.h5") as file:
        assert len(file["images"]) == len(file["table"]) + 1  # and the raw image
        assert set(file["table"]["image"]) == {image.encode()}
    page = (tmp_path / "r.html").read_text()
    assert "time point 0" not in page
    assert "NaN" in page


def test_the_first_image_is_no_measure_for_others_if_it_fails(tmp_path, pipeline, image):
    flat = store(tmp_path / "v.h5", np.zeros((20, 30, 2), np.uint8), "yxc")
    done = api.run(pipeline, [flat, image], table=True, on_error="skip")
    assert [o.error is None for o in done.outcomes] == [False, True]


def test_where_every_image_fails_the_report_says_why(tmp_path, pipeline, caplog):
    bad = tmp_path / "bad.tif"
    bad.write_bytes(b"II*\0")
    done = api.run(pipeline, bad, table=tmp_path / "t.csv", report=tmp_path / "r.html", on_error="skip")
    assert done.table is None
    assert not (tmp_path / "t.csv").exists()
    assert "bad.tif" in (tmp_path / "r.html").read_text()
    assert "no image could be done" in caplog.text


def test_many_images_with_pictures_need_few_open_files(tmp_path, pipeline):
    import resource

    paths = [store(tmp_path / f"{i}.npy", drawn((30, 40), seed=i, count=3), "yx") for i in range(60)]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    there = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (there + 30, limits[1]))
    try:
        api.run(pipeline, paths, axes="yx", table=tmp_path / "t.h5", pictures=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    with h5py.File(tmp_path / "t.h5") as file:
        assert len(file["images"]) == len(file["table"])


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted as Linux tells them")
def test_images_that_failed_keep_no_files_open(tmp_path, pipeline, image):
    movie = np.stack([drawn(seed=1), drawn(seed=2)]).astype(np.float32)
    movie[1, 5, 5] = np.nan
    bad = [store(tmp_path / f"{i}.h5", movie, "tyx") for i in range(6)]
    api.run(pipeline, image, table=True)
    before = len(list(Path("/proc/self/fd").iterdir()))
    done = api.run(pipeline, bad, table=tmp_path / "t.h5", pictures=True, on_error="skip", backend="cpu")
    assert all(isinstance(o.error, InputError) for o in done.outcomes)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_too_many_open_files_is_no_damage(tmp_path, image):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    load(image)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        with pytest.raises(ResourceError, match=r"(?i)too many open files\n  hint: .*ulimit -n"):
            load(image)
        with pytest.raises(ResourceError, match=r"(?i)80 bytes for numbers: too many open files\n"):
            Scratch((10,), np.float64, "numbers")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


class Countdown(Event):
    """Set when it was asked so often after the image was done."""

    def __init__(self, left):
        super().__init__()
        self.left, self.counting = left, False

    def progress(self, name, parts, total):
        self.counting = parts == total

    def is_set(self):
        self.left -= self.counting
        return super().is_set() or self.left < 0


@pytest.mark.parametrize("left", [0, 1, 4])
def test_it_stops_between_the_pictures_of_a_table(tmp_path, pipeline, image, left):
    cancel = Countdown(left)
    how = {"table": tmp_path / "t.h5", "pictures": True, "cancel": cancel, "progress": cancel.progress}
    with pytest.raises(Cancelled, match="stopped before it was written; the images are done"):
        api.run(pipeline, image, **how)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]
    assert cancel.left == -1


def test_it_stops_before_the_report(tmp_path, pipeline, image, monkeypatch):
    cancel, known = Event(), api.run.__globals__
    write = known["write_table"]
    monkeypatch.setitem(known, "write_table", lambda *a: [write(*a), cancel.set()])
    with pytest.raises(Cancelled, match=r"r\.html: stopped before it was written"):
        api.run(pipeline, image, table=tmp_path / "t.csv", report=tmp_path / "r.html", cancel=cancel)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tif", "t.csv"]


def test_an_image_under_two_names_is_one_image(tmp_path, pipeline, image, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.tif").symlink_to(image)
    for other in ("a.tif", "./a.tif", "link.tif", image):
        also = "" if other == "a.tif" else ", also as a.tif"
        with pytest.raises(InputError, match=rf"^{re.escape(other)}: is named twice{also}\n"):
            api.run(pipeline, ["a.tif", other], table=True)


def test_a_sequence_of_colours_has_no_twin(tmp_path, pipeline, image):
    how = {"format": "png sequence", "output": f"{tmp_path}/o_{{slice_index}}.png"}
    (done,) = api.run(pipeline, image, axis_order="cyx", **how).outcomes
    assert [Path(p).name for p in done.outputs] == ["o_0000.png"]


@pytest.mark.parametrize(
    "how", [{"output": "file/x.tif"}, {"table": "file/t.csv"}, {"report": "file/r.html"}]
)
def test_a_file_in_the_place_of_a_folder_is_told_before_anything_runs(
    tmp_path, pipeline, image, monkeypatch, how
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gpuseg.api.objects.Asked.run", lambda *a: pytest.fail("it ran"))
    Path("file").write_text("x")
    with pytest.raises(FileError, match=r"file/.*: .*file is no folder"):
        api.run(pipeline, image, **how)


def test_sizes_of_pixels_that_contradict_each_other_are_told(tmp_path, caplog):
    labels = np.zeros((30, 30), np.uint8)
    labels[5:15, 5:15], labels[18:22, 18:22] = 1, 2
    paths = [
        store(tmp_path / f"{i}.tif", labels, "yx", voxel=Voxel({"y": s, "x": s}))
        for i, s in enumerate((2.0, 0.5))
    ]
    with caplog.at_level(logging.WARNING, "gpuseg"):
        api.measure(paths[0], raw=paths[1], spacing="file", features=["count"])
    assert "say other pixel sizes: y 2, x 2 is taken" in caplog.text


def test_large_values_of_a_segmentation_are_kept_in_blocks_too(tmp_path):
    values = np.zeros((30, 30), np.uint64)
    values[3:9, 3:9], values[3:9, 9:15], values[20:26, 3:20] = 2**40, 2**40 + 1, 5
    path = store(tmp_path / "s.npy", values, "yx")
    for block in (None, 7):
        table = api.classify(Pipeline(), segmentation=path, axes="yx", table=True, block=block).table
        assert table["original_oid"].tolist() == [2**40, 2**40 + 1, 5]


def test_no_image_is_no_work(pipeline):
    with pytest.raises(InputError, match="no image is given"):
        api.run(pipeline, [])


def test_class_values_beyond_a_byte_are_written_whole(tmp_path, pipeline, image):
    from dataclasses import replace as changed

    classes = tuple(changed(c, value=300 * (i + 1)) for i, c in enumerate(pipeline.objects.classes))
    wide = changed(pipeline, objects=changed(pipeline.objects, classes=classes, provenance={}))
    (done,) = api.run(wide, image, output=f"{tmp_path}/o.tif").outcomes
    assert set(np.unique(load(done.outputs[0]))) == {0, 300, 600}
