"""Object classification compared number by number with what its parts give, and where each number goes."""

import json
import logging
import re

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from objects_scene import FILTERS, drawn, load, pixel_classifier, store, trained
from scipy import ndimage

import gpuseg
from gpuseg import ObjectClassifier, ObjectLabels, Pipeline, PixelClassifier, api
from gpuseg.api.objects import Asked
from gpuseg.axes import Voxel
from gpuseg.classes import LabelClass
from gpuseg.errors import InputError, ModelMismatchError
from gpuseg.export import RESULTS
from gpuseg.io.base import Image
from gpuseg.object.label_files import write_labels

OBJECTS = ["object predictions", "object probabilities", "object identities", "object uncertainty"]
EVERYTHING = [key for key in RESULTS if key != "labels"]
LOST = "a label is not used"


@pytest.fixture(scope="module")
def pipeline():
    return trained(drawn())


def made(done):
    """What was written, by the name of its file."""
    return {path.rsplit("/", 1)[1]: load(path) for outcome in done.outcomes for path in outcome.outputs}


def assert_same(one, other):
    assert list(one) == list(other)
    for name in one:
        assert_array_equal(one[name], other[name], err_msg=name)


def same_objects(one, other):
    """Whether tables say the same of the same objects, whatever the objects are called."""
    names = ("object_id", "timestep", "image", "original_oid")
    one, other = (t.drop(columns=[c for c in names if c in t]).reset_index(drop=True) for t in (one, other))
    pd.testing.assert_frame_equal(one, other, check_flags=False)


# What each block alone shows


def as_ilastik(labels, raw, model, block, halo):
    """Classes and probabilities of a time point, each block labelled, measured and classified by itself."""
    classes, proba = np.zeros(labels.shape, np.uint8), np.zeros((*labels.shape, 3), np.float32)
    for place in np.ndindex(*(-(-n // b) for n, b in zip(labels.shape, block, strict=True))):
        core = tuple(slice(i * b, (i + 1) * b) for i, b in zip(place, block, strict=True))
        seen = tuple(slice(max(0, c.start - h), c.stop + h) for c, h in zip(core, halo, strict=True))
        parts, count = ndimage.label(labels[seen] > 0)
        if count:
            table = gpuseg.measure(parts, raw[seen], features=CUT, margin=(3, 2, 1), backend="cpu")
            inside = tuple(
                slice(c.start - s.start, c.stop - s.start) for c, s in zip(core, seen, strict=True)
            )
            classes[core] = np.r_[0, model.predict(table)][parts][inside]
            nobody = np.zeros((1, 3), np.float32)
            proba[core] = np.concatenate([nobody, model.predict_proba(table)])[parts][inside]
    return classes, proba


CUT = ["count", "mean", "maximum", "mean_in_neighborhood"]
CASES = {
    "yx": ((41, 58), (16, 20), (3, 5)),
    "zyx": ((9, 22, 25), (4, 10, 12), (1, 3, 2)),
}


@pytest.mark.parametrize("axes", CASES)
def test_blocks_as_ilastik_cuts_them_show_what_each_alone_shows(tmp_path, axes):
    shape, block, halo = CASES[axes]
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(2, *shape)), (0, *[2] * len(shape)))
    labels = np.stack([ndimage.label(frame > smooth.std() / 2)[0] for frame in smooth])
    stripes = 500 * (np.arange(shape[-1]) // 7 % 2)  # so that values touch: they are one object of a block
    labels = np.where(labels, labels + stripes, 0).astype(np.uint16)
    raw = rng.gamma(2, 30, labels.shape).astype(np.float32) + np.arange(2).reshape(2, *[1] * len(shape)) * 20
    known = dict(features=CUT, axes=f"t{axes}", raw_axes=f"t{axes}", margin=(3, 2, 1))
    table = gpuseg.measure(labels, raw, **known, backend="cpu")
    at_random = np.arange(len(table)) % 3 + 1  # so that the least change of an object changes its class
    model = ObjectClassifier(n_estimators=15, backend="cpu").fit(table, at_random)
    done = api.classify(
        model,
        labels=store(tmp_path / "l.h5", labels, f"t{axes}"),
        raw=store(tmp_path / "r.h5", raw, f"t{axes}"),
        export=["blockwise object predictions", "blockwise object probabilities"],
        output=f"{tmp_path}/{{result_type}}.h5",
        blockwise="ilastik",
        block=block,
        halo=halo,
        backend="cpu",
    )
    classes, proba = (load(path) for path in done.outcomes[0].outputs)
    expected = [as_ilastik(labels[t], raw[t], model, block, halo) for t in range(2)]
    assert_array_equal(classes[..., 0] if classes.ndim > labels.ndim else classes, [c for c, _ in expected])
    assert_array_equal(proba, [p for _, p in expected])
    for other in ([h + 1 for h in halo], halo[::-1], [0] * len(halo)):  # each of which would be noticed
        assert (as_ilastik(labels[0], raw[0], model, block, other)[1] != expected[0][1]).any()


# Two channels, two thresholds


@pytest.fixture(scope="module")
def rings():
    """Objects with a rim, some of them with a core: the image, and a classifier of three kinds of pixels."""
    rng = np.random.default_rng(3)
    kind = np.zeros((48, 72), int)
    for i in range(12):
        y, x = divmod(i, 4)
        kind[y * 16 + 2 : y * 16 + 12 + i % 3, x * 15 + 1 : x * 15 + 8 + i % 4] = 1
        if i % 3:
            kind[y * 16 + 4 : y * 16 + 9, x * 15 + 3 : x * 15 + 6] = 2
    kind[18:28, 63:71] = 2  # a core without a rim
    image = (ndimage.gaussian_filter(80.0 * kind, 0.5) + rng.normal(20, 4, kind.shape)).astype(np.float32)
    labels = np.where(rng.random(kind.shape) < 0.1, kind + 1, 0)
    return image, PixelClassifier(FILTERS, axes="yx", n_estimators=8, backend="cpu").fit(image, labels)


HYSTERESIS = {"method": "hysteresis", "low": 0.2, "high": 0.5, "sigma": 1, "min_size": 3}


@pytest.mark.parametrize("block", [None, (1, 20, 17)])
@pytest.mark.parametrize("final_input", ["sum", "channel"])
@pytest.mark.parametrize(("channel", "core_channel"), [(1, 2), (2, 1)])
def test_cores_may_be_of_another_channel(tmp_path, rings, channel, core_channel, final_input, block):
    image, pixel = rings
    more = {"channel": channel, "core_channel": core_channel, "final_input": final_input}
    settings = HYSTERESIS | more
    proba = pixel.predict_proba(image)
    found = gpuseg.segment(proba, axes="yxc", backend="cpu", **settings)
    table = gpuseg.measure(found, image, features=["count", "mean"], backend="cpu")
    model = ObjectClassifier(n_estimators=8, backend="cpu").fit(table, np.arange(len(table)) % 3)
    how = dict(segment=settings, export=OBJECTS[::2], table=True, block=block, backend="cpu")
    by_pixels = api.run(
        Pipeline(pixel, HYSTERESIS, model),
        store(tmp_path / "i.tif", image, "yx"),
        output=f"{tmp_path}/{{result_type}}.h5",
        **how,
    )
    by_proba = api.classify(
        Pipeline(objects=model),
        raw=f"{tmp_path}/i.tif",
        probabilities=store(tmp_path / "p.h5", proba, "yxc", drange=(0, 1)),
        output=f"{tmp_path}/of/{{result_type}}.h5",
        **how,
    )
    for done in (by_pixels, by_proba):
        predicted, identities = (one.reshape(image.shape) for one in made(done).values())
        assert_array_equal(identities, found.labels)
        assert_array_equal(predicted, np.r_[0, model.predict(table)][found.labels])
        pd.testing.assert_frame_equal(done.table[list(table.columns)], table, rtol=1e-9, check_flags=False)
    for other in ({"core_channel": channel}, {"channel": core_channel, "core_channel": channel}):
        swapped = gpuseg.segment(proba, axes="yxc", backend="cpu", **(settings | other))
        assert (swapped.labels != found.labels).any()  # it would be noticed


# What is written, and what is read


@pytest.mark.parametrize(
    "how", [{}, {"block": (1, 16, 24)}, {"block": 20, "blockwise": "ilastik", "halo": 3}]
)
@pytest.mark.parametrize("cutout", ["t:1:2,y:5:33,x:10:41", "t::1,y:17:,x::16"])
def test_a_cutout_of_all_results_is_the_same_part_of_them(tmp_path, pipeline, cutout, how):
    movie = np.stack([drawn((40, 48), seed) for seed in (1, 2)])
    path = store(tmp_path / "m.h5", movie, "tyx")
    whole, cut = (
        api.run(
            pipeline,
            path,
            export=EVERYTHING,
            table=True,
            cutout=part,
            output=f"{tmp_path}/{i}/{{result_type}}.npy",
            backend="cpu",
            **how,
        )
        for i, part in enumerate((None, cutout))
    )
    ends = [[int(n) if n else None for n in axis.split(":")[1:]] for axis in cutout.split(",")]
    expected = {name: one[tuple(slice(*e) for e in ends)] for name, one in made(whole).items()}
    assert len(expected) == len(EVERYTHING)
    assert_same(made(cut), expected)
    pd.testing.assert_frame_equal(cut.table, whole.table)  # of all objects, whatever is written
    assert set(cut.table["timestep"]) == {0, 1}


@pytest.mark.parametrize("block", [None, (1, 16, 25)])
def test_probabilities_of_a_movie_are_classified_frame_by_frame(tmp_path, pipeline, block):
    frames = [drawn(seed=seed) for seed in (1, 2, 3)]
    pixel = PixelClassifier.from_model(pipeline.pixel, backend="cpu")
    proba = [pixel.predict_proba(frame) for frame in frames]
    how = dict(export=OBJECTS, table=True, block=block, backend="cpu")
    done = api.classify(
        pipeline,
        raw=store(tmp_path / "r.h5", np.stack(frames), "tyx"),
        probabilities=store(tmp_path / "p.h5", np.stack(proba), "tyxc", drange=(0, 1)),
        output=f"{tmp_path}/{{result_type}}.npy",
        **how,
    )
    alone = [
        api.classify(
            pipeline,
            raw=store(tmp_path / f"{t}.h5", frames[t], "yx"),
            probabilities=store(tmp_path / f"p{t}.h5", proba[t], "yxc", drange=(0, 1)),
            output=f"{tmp_path}/{t}/{{result_type}}.npy",
            **how,
        )
        for t in range(3)
    ]
    written = [made(one) for one in alone]
    assert_same(made(done), {name: np.stack([one[name] for one in written]) for name in written[0]})
    assert done.table["timestep"].tolist() == [t for t in range(3) for _ in range(len(alone[t].table))]
    same_objects(done.table, pd.concat([one.table for one in alone]))


@pytest.fixture
def asked(monkeypatch):
    """The most pixels along y and x that each file is asked for at once, by its name."""
    most = {}
    original = Image.read

    def read(self, region=None):
        values = original(self, region)
        name = self.path.rsplit("/", 1)[1]
        here = [values.shape[self.axes.index(a)] for a in "yx"]
        most[name] = [max(pair) for pair in zip(here, most.get(name, here), strict=True)]
        return values

    monkeypatch.setattr(Image, "read", read)
    return most


BLOCK = 16
SMOOTH = {"channel": 1, "sigma": 1.5, "min_size": 5}
OVERLAP = 1  # pixels of its neighbours by which a tile's objects are joined to theirs


@pytest.mark.parametrize("kind", ["pixels", "probabilities", "segmentation", "labels"])
@pytest.mark.parametrize("features", [["count", "mean"], ["count", "radii", "mean_in_neighborhood"]])
def test_no_more_is_read_at_once_than_a_block_and_what_it_must_see(tmp_path, asked, features, kind):
    image = drawn((70, 90), count=0)
    image[3:7, 30:80] = image[20:68, 43:48] = 120  # longer than a block
    for y, x in ((9, 16), (15, 3), (20, 30), (28, 14), (31, 31), (40, 60), (58, 70), (60, 5), (12, 17)):
        image[y : y + 5, x : x + 5 + y % 3] = 120 + x
    pixel = pixel_classifier(image)
    proba = pixel.predict_proba(image)
    labels = gpuseg.segment(proba, axes="yxc", backend="cpu", **SMOOTH).labels.astype(np.uint16)
    margin = (3, 2, 1)
    table = gpuseg.measure(labels, image, features=features, margin=margin, backend="cpu")
    model = ObjectClassifier(n_estimators=5, backend="cpu").fit(table, np.arange(len(table)) % 3)
    raw = store(tmp_path / "raw.h5", image, "yx")
    files = {
        "probabilities": store(tmp_path / "probabilities.h5", proba, "yxc", drange=(0, 1)),
        "segmentation": store(tmp_path / "segmentation.h5", (labels > 0).astype(np.uint8), "yx"),
        "labels": store(tmp_path / "labels.h5", labels, "yx"),
    }
    given = Pipeline(pixel.model_, SMOOTH, model)
    how = dict(export=OBJECTS, output=f"{tmp_path}/{{result_type}}.npy", block=BLOCK, backend="cpu")
    asked.clear()
    if kind == "pixels":
        api.run(given, raw, **how)
    else:
        api.classify(given, raw=raw, **{kind: files[kind]}, **how)
    smoothing = given.segmentation.halo((1, 70, 90))[1]
    sees = {"probabilities": smoothing + OVERLAP, "segmentation": OVERLAP, "labels": 0}
    # Objects that begin in one block are measured together where features need them in one piece, those that
    # are larger than it each by itself.
    longest = [
        int((table[f"Bounding Box Maximum_{k}"] - table[f"Bounding Box Minimum_{k}"]).max()) for k in (1, 0)
    ]
    assert min(longest) > 2 * BLOCK
    group = [n + 2 * m for n, m in zip(longest, margin[1::-1], strict=True)]
    under = [BLOCK, BLOCK] if features == ["count", "mean"] else group
    if kind == "pixels":
        halo = pixel.model_.selection.halo(1)[1]
        under = [max(n, BLOCK + 2 * halo) for n in under]
    else:
        assert max(asked[f"{kind}.h5"]) <= BLOCK + 2 * sees[kind]
    assert all(n <= most < 70 for n, most in zip(asked["raw.h5"], under, strict=True))


def test_blocks_as_ilastik_cuts_them_read_a_block_and_its_halo(tmp_path, asked):
    image = drawn((70, 90), count=20)
    labels = ndimage.label(image > 60)[0].astype(np.uint16)
    table = gpuseg.measure(labels, image, features=["count", "mean"], backend="cpu")
    model = ObjectClassifier(n_estimators=5, backend="cpu").fit(table, np.arange(len(table)) % 3)
    given = {
        "labels": store(tmp_path / "labels.h5", labels, "yx"),
        "raw": store(tmp_path / "raw.h5", image, "yx"),
    }
    how = dict(blockwise="ilastik", export="blockwise object predictions", output=f"{tmp_path}/o.npy")
    asked.clear()
    api.classify(model, **given, block=(16, 20), halo=(3, 5), backend="cpu", **how)
    assert asked == {"raw.h5": [16 + 6, 20 + 10], "labels.h5": [16, 20]}


# Axes, sizes and units


@pytest.mark.parametrize("kind", ["labels", "segmentation", "probabilities"])
def test_the_axes_of_the_raw_image_are_those_that_were_named(tmp_path, kind):
    """A square file of unnamed axes is taken for yx; this one is xy."""
    image = drawn((40, 40), count=8)
    bright = np.clip(image / 150, 0, 1).astype(np.float32)
    labels = ndimage.label(image > 60)[0].astype(np.uint16)
    files = {
        "labels": store(tmp_path / "l.npy", labels, "yx"),
        "segmentation": store(tmp_path / "s.npy", (labels > 0).astype(np.uint8), "yx"),
        "probabilities": store(tmp_path / "p.npy", np.stack([1 - bright, bright], -1), "yxc"),
    }
    settings = {"channel": 1, "sigma": 0, "min_size": 3} if kind == "probabilities" else None
    other = {kind: files[kind], "axes": "yxc" if kind == "probabilities" else "yx"}
    plain = store(tmp_path / "raw.tif", image, "yx")
    turned = {"raw": store(tmp_path / "turned.npy", image.T.copy(), "yx"), "raw_axes": "xy"}
    features = ["mean", "variance"]
    found = api.classify(Pipeline(), raw=plain, segment=settings, table=True, features=features, **other)
    center = found.table[["Center of the object_1", "Center of the object_0"]].round().astype(int)
    known = ObjectLabels.at_positions(center[:6], [1, 2, 1, 2, 1, 2])
    how = other | {"object_labels": known, "segment": settings, "features": features, "trees": 5, "folds": 0}
    expected, trained_on = (
        api.train_objects(**how, **raw, table=tmp_path / f"{i}.csv", backend="cpu")
        for i, raw in enumerate(({"raw": plain}, turned))
    )
    assert trained_on.objects.hash == expected.objects.hash
    same_objects(*(pd.read_csv(tmp_path / f"{i}.csv", dtype={"Ambiguous": str}) for i in range(2)))
    one, two = (
        api.classify(expected, table=True, backend="cpu", **other, **raw) for raw in ({"raw": plain}, turned)
    )
    same_objects(one.table, two.table)
    wrong = api.classify(expected, table=True, backend="cpu", raw=turned["raw"], **other)
    assert (wrong.table["Mean Intensity"] != one.table["Mean Intensity"]).any()  # it would be noticed


def test_axes_are_those_of_the_raw_image_where_there_is_no_other(tmp_path, pipeline):
    image = drawn((60, 60), seed=4)
    plain = store(tmp_path / "raw.tif", image, "yx")
    turned = store(tmp_path / "turned.npy", image.T.copy(), "yx")
    found = api.run(pipeline, plain, table=True, backend="cpu").table
    center = found[["Center of the object_1", "Center of the object_0"]].round().astype(int)
    how = {
        "object_labels": ObjectLabels.at_positions(center[:6], [1, 2, 1, 2, 1, 2]),
        "pixel_model": pipeline,
        "features": ["mean", "radii"],
        "trees": 5,
        "folds": 0,
        "backend": "cpu",
    }
    one, two = (
        api.train_objects(raw=raw, axes=axes, table=tmp_path / f"{i}.csv", **how)
        for i, (raw, axes) in enumerate(((plain, None), (turned, "xy")))
    )
    assert one.objects.provenance["training"]["labels"] == {"1": 3, "2": 3}
    assert one.objects.hash == two.objects.hash
    tables = (
        api.run(one, raw, axes=axes, table=True, backend="cpu").table
        for raw, axes in ((turned, "xy"), (plain, None))
    )
    same_objects(*tables)


def bars(shape=(30, 60)):
    """Six bars, low and high in turn."""
    labels = np.zeros(shape, np.uint8)
    for i in range(6):
        labels[..., 2 : 6 + 3 * (i % 2), 10 * i + 1 : 10 * i + 8] = i + 1
    return labels


def sized(size, unit):
    return Voxel(dict.fromkeys("yx", size), dict.fromkeys("yx", unit))


UNLIKE = {
    "3D, 0 raw channels": [("a", (30, 60), "yx", None, None), ("b", (3, 30, 60), "zyx", None, None)],
    "2D, 2 raw channels": [("a", (30, 60), "yx", 1, None), ("b", (30, 60), "yx", 2, None)],
    "lengths in nm": [("a", (30, 60), "yx", 1, "micrometer"), ("b", (30, 60), "yx", 1, "nanometer")],
}


@pytest.mark.parametrize("what", UNLIKE)
def test_images_whose_tables_would_differ_are_refused_before_anything_is_computed(
    tmp_path, monkeypatch, what
):
    labels, raws = [], []
    for name, shape, axes, channels, unit in UNLIKE[what]:
        how = {} if unit is None else {"voxel": sized(0.5, unit)}
        labels.append(store(tmp_path / f"{name}.tif", bars(shape), axes, **how))
        if channels:
            raw = np.ones((*shape, channels), np.float32)
            raws.append(store(tmp_path / f"raw_{name}.tif", raw, f"{axes}c", **how))
    given = {"labels": labels, "raw": raws or None, "table": tmp_path / "t.csv", "features": ["count"]}
    if "lengths" in what:
        given["spacing"] = "file"
    computed, original = [], Asked.run
    monkeypatch.setattr(Asked, "run", lambda self, o, *rest: computed.append(o) or original(self, o, *rest))
    with pytest.raises(InputError, match=rf"b\.tif: .*{what}.*; .*a\.tif: 2D, "):
        api.classify(
            Pipeline(), **{k: v for k, v in given.items() if v is not None}, export="object identities"
        )
    known = ObjectLabels.at_positions([[3, 3], [3, 13]], [1, 2], image="a.tif")
    with pytest.raises(InputError, match=rf"b\.tif: .*{what}.*; .*a\.tif: 2D, "):
        api.train_objects(object_labels=known, **given)
    assert not computed
    assert not (tmp_path / "t.csv").exists()
    done = api.classify(Pipeline(), **given, on_error="skip")
    assert [o.error is None for o in done.outcomes] == [True, False]
    assert len(computed) == 1


def test_lengths_in_another_unit_are_those_that_were_learned(tmp_path):
    how = {"micrometer": 0.5, "millimeter": 0.0005, "nanometer": 500.0, "furlong": 0.5}
    files = {
        unit: store(tmp_path / f"{unit}.h5", bars(), "yx", voxel=sized(size, unit))
        for unit, size in how.items()
    }
    known = ObjectLabels.of(bars(), {1: "low", 2: "high", 3: "low", 4: "high"}, names=["low", "high"])
    learned = {"features": ["count", "radii"], "spacing": "file", "trees": 5, "folds": 0}
    model = api.train_objects(labels=files["micrometer"], object_labels=known, **learned)
    message = r"furlong\.h5: lengths are in furlong, the classifier learned them in µm"
    with pytest.raises(ModelMismatchError, match=message):
        api.classify(model, labels=files["furlong"], table=True)
    with pytest.raises(ModelMismatchError, match=message):  # also where nobody wants to see lengths
        api.classify(model, labels=files["furlong"], output=f"{tmp_path}/o.npy")
    same = [files[unit] for unit in ("micrometer", "millimeter", "nanometer")]
    table = api.classify(model, labels=same, table=True).table
    assert table["Predicted Class"].tolist() == ["low", "high"] * 9
    assert table["Size (µm²)"].tolist() == pytest.approx([7.0, 12.25] * 9)


def test_a_size_in_another_unit_is_the_same_size(tmp_path):
    known = ObjectLabels.of(bars(), {1: "low", 2: "high", 3: "low", 4: "high"}, names=["low", "high"])

    def saved(size, unit):
        return store(tmp_path / f"{size}.h5", bars(), "yx", voxel=sized(size, unit))

    how = {"features": ["count", "radii"], "spacing": [1, 0.5, 0.5], "trees": 5, "folds": 0}
    model = api.train_objects(labels=saved(0.5, "micron"), object_labels=known, **how)
    table = api.classify(model, labels=saved(0.0005, "millimeter"), table=True).table
    assert table["Size (µm²)"].tolist() == [7.0, 12.25] * 3
    for size, unit, told in ((0.5000001, "millimeter", "0.5 mm"), (0.5, "furlong", "0.5 furlong")):
        with pytest.raises(ModelMismatchError, match=f"a pixel is {told} along y, .* measures with 0.5 µm"):
            api.classify(model, labels=saved(size, unit), table=True)


# Labels and the objects they go to


@pytest.fixture
def movie(tmp_path):
    """Two frames of one small and one large object each; in the second their ids are exchanged."""
    frames = np.zeros((2, 20, 24), np.uint8)
    frames[0, 2:5, 2:5], frames[0, 9:20, 12:24] = 1, 2
    frames[1, 0:9, 1:11], frames[1, 17:20, 20:24] = 1, 2
    return store(tmp_path / "m.h5", frames, "tyx")


def told_of(caplog, run):
    """What `run` gives, and the labels that it says are not used."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "gpuseg"):
        found = run()
    return found, [m for m in caplog.messages if LOST in m]


def test_the_last_row_and_column_are_of_the_image_and_those_after_are_not(tmp_path, movie, caplog):
    said = tmp_path / "said.csv"
    said.write_text(
        "timestep,z,y,x,class\n"
        "0,0,19,12,large\n"  # the last row
        "0,0,3,3,small\n"
        "1,0,17,23,small\n"  # the last column
        "0,0,20,12,large\n0,0,9,24,large\n2,0,3,3,small\n0,1,9,12,large\n"
    )
    model, lost = told_of(
        caplog,
        lambda: api.train_objects(
            labels=movie, object_labels=said, features=["count"], trees=10, folds=0, backend="cpu"
        ),
    )
    done, also = told_of(
        caplog, lambda: api.classify(model, labels=movie, object_labels=said, table=True, backend="cpu")
    )
    assert model.objects.provenance["training"]["labels"] == {"1": 1, "2": 2}
    assert done.table["User Label"].tolist() == ["small", "large", "0", "small"]
    assert done.table["Predicted Class"].tolist() == ["small", "large", "large", "small"]
    outside, late = "its position is outside of the image", "the image has 2 time points"
    for told in (lost, also):
        assert [re.sub(r".*not used: ", "", one) for one in sorted(told)] == [
            f"z 0, y 20, x 12, class 1: {outside}",
            f"z 0, y 3, x 3, time point 2, class 2: {late}",
            f"z 0, y 9, x 24, class 1: {outside}",
            f"z 1, y 9, x 12, class 1: {outside}",
        ]


SAID = {
    "ids": "timestep,id,class\n1,1,large\n0,1,small\n1,2,small\n0,2,large\n",
    "places": "timestep,x,y,class\n1,3,3,large\n0,3,3,small\n1,22,18,small\n0,22,18,large\n",
}


@pytest.mark.parametrize("how", SAID)
def test_labels_of_one_id_at_two_times_go_each_to_its_own(tmp_path, movie, caplog, how):
    said = tmp_path / "said.csv"
    said.write_text(SAID[how])
    given = {"labels": movie, "object_labels": said, "backend": "cpu"}
    model, lost = told_of(caplog, lambda: api.train_objects(**given, features=["count"], trees=20, folds=0))
    table = api.classify(model, **given, table=True).table
    assert not lost
    assert table["User Label"].tolist() == ["small", "large", "large", "small"]
    assert table["Predicted Class"].tolist() == ["small", "large", "large", "small"]
    assert (table["Probability of small"] > 0.5).tolist() == [True, False, False, True]


# What training tells


@pytest.fixture
def greys(tmp_path):
    """60 squares, those of class 3 all bright and of class 1 one in three: classes, and files."""
    kind = np.repeat([1, 3], 30)
    grey = np.where((kind == 3) | (np.arange(60) % 3 == 0), 100, 20)
    labels = np.zeros((24, 40), np.uint8)
    for i in range(60):
        y, x = divmod(i, 10)
        labels[4 * y : 4 * y + 3, 4 * x : 4 * x + 3] = i + 1
    raw = np.r_[0, grey][labels].astype(np.float32)
    return kind, store(tmp_path / "labels.tif", labels, "yx"), store(tmp_path / "raw.tif", raw, "yx")


COLORS = ((1, 2, 3), (40, 50, 60), (200, 100, 0))
NAMES = ("dim", "never", "lit")


def colored(kind):
    """Labels of all the squares, in classes of colours of their own."""
    classes = tuple(LabelClass(v, n, c) for v, (n, c) in enumerate(zip(NAMES, COLORS, strict=True), 1))
    n = len(kind)
    nowhere = np.full((n, 3), -1)
    return ObjectLabels(("",) * n, np.zeros(n, int), np.arange(1, n + 1), nowhere, kind, classes)


def test_confusions_are_placed_by_class_a_row_for_each_that_was_given(tmp_path, greys):
    kind, labels, raw = greys
    write_labels(colored(kind), tmp_path / "said.json")
    given = {"labels": labels, "raw": raw, "object_labels": tmp_path / "said.json", "backend": "cpu"}
    model = api.train_objects(**given, features=["mean"], trees=30, report=tmp_path / "r.html").objects
    told = model.provenance["training"]
    table = gpuseg.measure(load(labels), load(raw), features=["mean"], backend="cpu")
    alone = ObjectClassifier(n_estimators=30, backend="cpu").cross_validate(table, kind)
    assert alone.classes.tolist() == [1, 3]
    for one in (told["validation"]["confusion"], told["oob_confusion"]):
        matrix = np.array(one)
        assert matrix.shape == (3, 3)
        assert not matrix[1].any()
        assert not matrix[:, 1].any()
        assert matrix.sum(axis=1).tolist() == [30, 0, 30]  # of each class so many were given
        assert (matrix[0, 2], matrix[2, 0]) == (10, 0)  # those of class 1 that look like class 3
    assert np.array(told["validation"]["confusion"])[::2, ::2].tolist() == alone.confusion.tolist()
    page = (tmp_path / "r.html").read_text().split('id="confusion"')[1]
    rows = dict(re.findall(r'<tr><th scope="row">(\w+)</th>(.*)', page))
    cells = [[int(n) for n in re.findall(r"<td style[^>]*>(\d+)<", rows[name])] for name in NAMES]
    assert cells == told["oob_confusion"]


def test_colours_of_labels_are_those_of_the_model(tmp_path, greys):
    kind, labels, raw = greys
    write_labels(colored(kind), tmp_path / "said.json")
    how = dict(
        labels=labels, raw=raw, features=["mean"], trees=5, folds=0, object_labels=tmp_path / "said.json"
    )
    api.train_objects(**how, output=tmp_path / "m.gpuseg")
    classes = Pipeline.load(tmp_path / "m.gpuseg").objects.classes
    assert [(c.value, c.name, c.color) for c in classes] == list(zip((1, 2, 3), NAMES, COLORS, strict=True))
    done = api.classify(
        tmp_path / "m.gpuseg", labels=labels, raw=raw, output=f"{tmp_path}/{{result_type}}.png"
    )
    values, colors = made(done).values()
    assert_array_equal(colors, np.array([(0, 0, 0), *COLORS])[values])
    assert set(np.unique(values)) == {0, 1, 3}
    turned = api.train_objects(**how, names=NAMES[::-1]).objects  # colours go with names, whatever the number
    assert [(c.name, c.color) for c in turned.classes] == list(zip(NAMES[::-1], COLORS[::-1], strict=True))
    assert turned.provenance["training"]["labels"] == {"1": 30, "2": 0, "3": 30}
    assert json.loads((tmp_path / "said.json").read_text())["classes"][2]["color"] == [200, 100, 0]


def test_numbers_that_are_missing_are_told_in_training_of_labelled_objects_and_later_of_all(tmp_path):
    labels, rng = bars(), np.random.default_rng(0)
    raw = rng.random(labels.shape).astype(np.float32)
    raw[(labels == 2) | (labels == 5)] = 7  # flat: nobody knows how skewed
    given = {
        "labels": store(tmp_path / "l.tif", labels, "yx"),
        "raw": store(tmp_path / "r.tif", raw, "yx"),
        "backend": "cpu",
    }
    known = ObjectLabels.of(labels, {1: 1, 2: 2, 3: 1, 4: 2})
    model = api.train_objects(**given, object_labels=known, features=["count", "skewness"], trees=5, folds=0)
    reason = "Skewness of Intensity is nan"
    assert model.objects.provenance["training"]["ambiguous"] == [reason]
    table = api.classify(model, **given, table=True).table
    assert table["Ambiguous"].tolist() == ["", reason, "", "", reason, ""]
