"""The model file: what it keeps, what it refuses, and that no damage gets through."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.testing import assert_array_equal

from gpuseg.axes import sizes
from gpuseg.backends import get_backend
from gpuseg.classes import class_color, label_classes
from gpuseg.errors import FileError, InputError, ModelError, ModelMismatchError, ResourceError, ShapeError
from gpuseg.features.selection import Selection
from gpuseg.forests.arrays import Forest, Tree, float32_threshold
from gpuseg.model import Measured, ObjectModel, Pipeline, PixelModel

FIELDS = ("feature", "threshold", "left", "roots", "leaves")
MUTANTS = 5000


def small_model(**change: Any) -> PixelModel:
    """Two trees on three features of one channel."""
    tree = Tree(
        np.array([0, -1, 2, -1, -1]),
        float32_threshold(np.array([0.5, 0, 7.25, 0, 0]), inclusive=True),
        np.array([1, -1, 3, -1, -1]),
        np.array([2, -1, 4, -1, -1]),
        np.array([[0, 0], [1, 0], [0, 0], [0.3, 0.7], [0, 1]]),
    )
    parts = {
        "selection": Selection.table({"gaussian_smoothing": [0.3, 1.0, 3.5]}),
        "forest": Forest.from_trees([tree, tree._replace(feature=np.array([1, -1, 2, -1, -1]))], 3),
        "classes": label_classes([1, 4], {4: "Zellkern ü"}),
        "channels": 1,
        "ndim": 2,
        "axes": "yx",
        "provenance": {"date": "2026-01-01", "training": {"seed": 3, "oob_accuracy": 0.1 + 0.2}},
    }
    return PixelModel(**(parts | change))


def small_objects(**change: Any) -> ObjectModel:
    """The same trees on three columns of a table."""
    how = Measured(("count", "mean"), ("mean",), 2, 3, (30, 30, 1), (1.0, 0.5, 0.5), "µm")
    parts = {
        "columns": ("Mean Intensity_0", "Mean Intensity_1", "Mean Intensity_2"),
        "forest": small_model().forest,
        "classes": label_classes([1, 2], {2: "rund, oder nicht"}),
        "measured": how,
        "provenance": {"training": {"seed": 3, "importances": [0.5, 0.25, 0.25]}},
    }
    return ObjectModel(**(parts | change))


def small_pipeline() -> Pipeline:
    return Pipeline(small_model(), {"channel": 1, "sigma": (1, 2), "threshold": 0.6}, small_objects())


KINDS: dict[str, Callable[[], Any]] = {
    "pixel": small_model,
    "objects": small_objects,
    "pipeline": small_pipeline,
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    small_model().save(tmp_path / "small.gpuseg")
    return tmp_path / "small.gpuseg"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_reads_back_as_it_was(tmp_path: Path, kind: str) -> None:
    model = KINDS[kind]()
    model.save(tmp_path / "a.gpuseg")
    back = type(model).load(tmp_path / "a.gpuseg")
    assert (back.hash, back.provenance) == (model.hash, model.provenance)
    whole = Pipeline.load(tmp_path / "a.gpuseg")  # of any kind
    stages = (whole.pixel, whole.segmentation, whole.objects)
    assert [s is not None for s in stages] == [kind != "objects", kind == "pipeline", kind != "pixel"]
    if whole.objects is not None:
        assert whole.objects.columns == small_objects().columns
        assert whole.objects.measured == small_objects().measured
        assert whole.objects.classes == small_objects().classes
    if whole.segmentation is not None:
        assert whole.segmentation == small_pipeline().segmentation


def test_settings_alone_can_be_kept(tmp_path: Path) -> None:
    Pipeline(segmentation={"channel": 1}).save(tmp_path / "s.gpuseg")
    back = Pipeline.load(tmp_path / "s.gpuseg")
    assert back.segmentation is not None
    assert (back.pixel, back.objects, back.segmentation.channel) == (None, None, 1)
    with pytest.raises(ModelError, match=r"s.gpuseg: is a 'pipeline', a 'pixel classifier' is needed"):
        PixelModel.load(tmp_path / "s.gpuseg")


def test_the_hash_of_a_pipeline_is_of_all_its_stages() -> None:
    whole = small_pipeline()
    assert small_pipeline().hash == whole.hash
    changed = [
        replace(whole, pixel=small_model(classes=label_classes([1, 5]))),
        replace(whole, segmentation={"channel": 1, "threshold": 0.7}),
        replace(whole, objects=small_objects(columns=("a", "b", "c"))),
        replace(whole, objects=small_objects(measured=replace(small_objects().measured, margin=(3, 3)))),
        replace(whole, objects=None),
    ]
    assert len({p.hash for p in (whole, *changed)}) == 6
    assert replace(whole, objects=small_objects(provenance={})).hash == whole.hash


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Pipeline(small_model(), None, small_objects()),
            InputError,
            "needs the segmentation between",
        ),
        (lambda: Pipeline(small_model(), {"channel": 2}), InputError, "channel 2 of an image with 2"),
        (lambda: Pipeline(small_model(), {"threshold": 3}), InputError, "threshold 3 is outside"),
        (lambda: small_objects(columns=("a", "b")), ModelError, "2 names of columns, the forest uses 3"),
        (lambda: small_objects(columns=("a", "a", "b")), ModelError, "2 names of columns"),
        (lambda: small_objects(classes=label_classes([1])), ModelError, "do not name the 2 columns"),
        (lambda: small_objects(measured=Measured(ndim=4)), ModelError, "in 4 dimensions"),
        (
            lambda: small_objects(classes=label_classes([1, 2], {1: "a", 2: "a"})),
            ModelError,
            "two classes have one name: a, a",
        ),
        (lambda: small_objects(provenance={"training": 5}), ModelError, "training = '5'"),
        (
            lambda: small_objects(provenance={"training": {"importances": [1.0]}}),
            ModelError,
            "3 numbers are needed",
        ),
        (
            lambda: small_objects(provenance={"training": {"oob_confusion": [[1, 2], [3]]}}),
            ModelError,
            "confusion .* of 2 classes",
        ),
        (
            lambda: small_model(provenance={"training": {"importances": "x"}}),
            ModelError,
            "importances x, 3 numbers",
        ),
        (lambda: small_objects(measured=Measured(margin=(1, -1))), ModelError, "margin"),
        (lambda: small_objects(measured=Measured(spacing=(0.0, 1.0, 1.0))), ModelError, "spacing"),
    ],
)
def test_stages_that_do_not_fit_are_refused(make: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_stage_whose_arrays_are_missing_is_named(tmp_path: Path) -> None:
    small_pipeline().save(tmp_path / "p.gpuseg")
    header, arrays = parts_of(tmp_path / "p.gpuseg")
    kept = {name: a for name, a in arrays.items() if name.startswith("pixel/")}
    put(tmp_path / "p.gpuseg", sealed(json.dumps(header), kept))
    with pytest.raises(ModelError, match=r"p.gpuseg: lacks the arrays objects/feature"):
        Pipeline.load(tmp_path / "p.gpuseg")


def test_a_model_reads_back_as_it_was(saved: Path) -> None:
    model, back = small_model(), PixelModel.load(saved)
    for name in FIELDS:
        assert_array_equal(getattr(back.forest, name), getattr(model.forest, name))
        assert getattr(back.forest, name).dtype == getattr(model.forest, name).dtype
    assert (back.selection, back.classes, back.provenance) == (
        model.selection,
        model.classes,
        model.provenance,
    )
    assert (back.channels, back.ndim, back.axes, back.hash) == (1, 2, "yx", model.hash)
    assert back.feature_names[1] == "Gaussian Smoothing (σ=1.0) in 2D"


def test_the_hash_is_of_what_decides_a_prediction() -> None:
    model = small_model()
    moved = replace(model.forest, threshold=np.nextafter(model.forest.threshold, np.float32(9)))
    assert small_model(provenance={"date": "tomorrow"}, axes="tyx").hash == model.hash
    assert small_model(forest=moved).hash != model.hash
    assert small_model(classes=label_classes([1, 5])).hash != model.hash
    sigmas = Selection.table({"gaussian_smoothing": [0.3, 1.0, 5.0]})
    assert small_model(selection=sigmas).hash != model.hash


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": label_classes([1])}, r"classes \[1\] do not name the 2 columns"),
        ({"classes": label_classes([4, 1])}, "do not name"),
        ({"classes": label_classes([4, 4])}, "do not name"),
        ({"ndim": 4}, "1 channels in 4 dimensions"),
        ({"channels": 0}, "0 channels"),
        ({"axes": "yy"}, "axes 'yy'"),
        ({"axes": "ys"}, "axes 'ys'"),
        ({"channels": 2}, "the selection has 6 features, the forest uses 3"),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        small_model(**change)


@pytest.mark.parametrize(
    ("shape", "axes", "error", "message"),
    [
        ((64, 64, 3), "yxc", ModelMismatchError, "a.tif: image has 3 channels, model was trained on 1"),
        (
            (9, 64, 64),
            "zyx",
            ModelMismatchError,
            r"a.tif: image is 3D \(9 z slices\).*on 2D(.|\n)*--axes tyx",
        ),
        ((64, 5), "yx", ShapeError, "a.tif: sigma 3.5 needs 14 pixels along x, the image has 5"),
    ],
)
def test_images_that_do_not_fit_are_refused(
    shape: tuple[int, ...], axes: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        small_model().check_image(sizes(axes, shape), "a.tif")


def test_a_slice_does_not_fit_a_model_of_volumes() -> None:
    volume = small_model(
        ndim=3, selection=Selection.table({"gaussian_smoothing": [0.3, 1.0, 3.5]}, in_2d=False)
    )
    volume.check_image(sizes("zyx", (20, 20, 20)))
    with pytest.raises(ModelMismatchError, match=r"image is 2D \(1 z slices\), model was trained on 3D"):
        volume.check_image(sizes("yx", (20, 20)))


def test_time_points_fit_whatever_their_number() -> None:
    small_model().check_image(sizes("tyx", (100, 64, 64)))


def test_colours_are_distinct() -> None:
    assert class_color(1) == (255, 225, 25)
    colors = [class_color(v) for v in range(256)]
    assert len(set(colors)) == 256
    assert all(0 <= c <= 255 for color in colors for c in color)


# Writing


def test_a_model_appears_whole_or_not_at_all(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(
            ResourceError, match=r"small.gpuseg: cannot be written: No space left.*takes [\d.]+ kB"
        ):
            small_model(axes="xy").save(saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == ["small.gpuseg"]


def test_a_model_that_reads_back_otherwise_is_not_kept(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"other")
    with pytest.raises(ResourceError, match="does not read back"):
        small_model().save(saved.with_name("new.gpuseg"))
    assert [p.name for p in saved.parent.iterdir()] == ["small.gpuseg"]


def test_folders_are_made(tmp_path: Path) -> None:
    small_model().save(tmp_path / "a/b/small.gpuseg")
    assert PixelModel.load(str(tmp_path / "a/b/small.gpuseg")).hash == small_model().hash


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, Path("x")])
def test_provenance_must_be_json(tmp_path: Path, value: object) -> None:
    with pytest.raises(InputError, match="provenance is not plain JSON"):
        small_model(provenance={"x": value}).save(tmp_path / "small.gpuseg")
    assert not list(tmp_path.iterdir())


def test_loading_needs_neither_scikit_learn_nor_scipy(saved: Path) -> None:
    code = (
        "import sys; from gpuseg.model import PixelModel; PixelModel.load(sys.argv[1]); "
        "print([m for m in ('sklearn', 'scipy', 'pickle', 'numba') if m in sys.modules and m != 'pickle'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# Reading


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no.gpuseg: no such file"):
        PixelModel.load(tmp_path / "no.gpuseg")
    with pytest.raises(FileError, match="is a folder"):
        PixelModel.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(100), b"\x80\x04K\x01.", bytes(8)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.gpuseg").write_bytes(content)
    with pytest.raises(ModelError, match=r"other.gpuseg: is no gpuseg model"):
        PixelModel.load(tmp_path / "other.gpuseg")


def parts_of(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with safetensors.safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["gpuseg"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def sealed(header: str, arrays: dict[str, np.ndarray]) -> bytes:
    """A model file with a checksum that is right for its content, whatever that is."""
    digest = sha256(header.encode())
    for name in (p + f for p in ("", "pixel/", "objects/") for f in FIELDS if p + f in arrays):
        digest.update(f"{name} {arrays[name].shape}".encode() + arrays[name].tobytes())
    return safetensors.numpy.save(arrays, metadata={"gpuseg": header, "sha256": digest.hexdigest()})


def test_the_checksum_is_as_documented(saved: Path) -> None:
    header, arrays = parts_of(saved)
    saved.write_bytes(sealed(json.dumps(header), arrays))
    assert PixelModel.load(saved).hash == small_model().hash


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spec": 2}, "has model format 2, this gpuseg reads 1"),
        ({"spec": "1"}, "spec = '1', int is needed"),
        ({"kind": "object classifier"}, "is a 'object classifier', a 'pixel classifier' is needed"),
        ({"channels": True}, "channels = 'True', int is needed"),
        ({"channels": 10**12}, "1000000000000 channels in 2 dimensions"),
        ({"channels": 65536}, "the selection has 196608 features, the forest uses 3"),
        ({"n_features": 4}, "the selection has 3 features, the forest uses 4"),
        ({"ndim": 5}, "1 channels in 5 dimensions"),
        ({"classes": [1, 2]}, "has the class '1'"),
        ({"classes": [{"value": 1, "name": "a", "color": [0, 0, 256]}] * 2}, r"colour \[0, 0, 256\]"),
        ({"classes": [{"value": 1, "name": None, "color": [0, 0, 0]}] * 2}, "name = 'None', str"),
        ({"classes": []}, "do not name the 2 columns"),
        ({"features": {}}, "the feature selection is damaged"),
        ({"features": []}, r"features = '\[\]', dict is needed"),
        ({"axes": None}, "axes = 'None', str"),
        ({"provenance": []}, "provenance"),
    ],
)
def test_headers_that_cannot_be_are_refused(saved: Path, change: dict[str, Any], message: str) -> None:
    header, arrays = parts_of(saved)
    saved.write_bytes(sealed(json.dumps(header | change), arrays))
    with pytest.raises(ModelError, match=f"small.gpuseg: (.|\n)*({message})"):
        PixelModel.load(saved)


@pytest.mark.parametrize(
    "header", ["", "[]", "{", "NaN", '{"spec": NaN}', "[" * 100_000, '{"spec": 1' + "0" * 5000 + "}"]
)
def test_headers_that_are_no_json_are_refused(saved: Path, header: str) -> None:
    saved.write_bytes(sealed(header, parts_of(saved)[1]))
    with pytest.raises(ModelError, match=r"small.gpuseg: is no gpuseg model: its header is not"):
        PixelModel.load(saved)


def test_arrays_of_another_type_or_number_are_refused(saved: Path) -> None:
    header, arrays = parts_of(saved)
    for changed in (
        arrays | {"left": arrays["left"].astype(np.int64)},
        arrays | {"leaves": arrays["leaves"].ravel()},
        arrays | {"more": np.zeros(3)},
    ):
        saved.write_bytes(sealed(json.dumps(header), changed))
        with pytest.raises(ModelError, match="is no gpuseg model: it holds the arrays"):
            PixelModel.load(saved)


# Damage

Mutation = Callable[[bytearray, np.random.Generator], None]


def flip(data: bytearray, rng: np.random.Generator) -> None:
    for at in rng.integers(len(data), size=rng.integers(1, 4)):
        data[at] ^= 1 << int(rng.integers(8))


def cut(data: bytearray, rng: np.random.Generator) -> None:
    del data[int(rng.integers(len(data))) :]


def blank(data: bytearray, rng: np.random.Generator) -> None:
    at, n = int(rng.integers(len(data))), int(rng.integers(1, 64))
    data[at : at + n] = bytes(len(data[at : at + n]))


def field(data: bytearray, rng: np.random.Generator) -> None:
    at = int(rng.integers(len(data) // 4)) * 4
    values = [0, 1, -1, 2**31 - 1, -(2**31), 7, 0x7F800000, 0x7FC00000, 0x3F800000]
    data[at : at + 4] = int(rng.choice(values)).to_bytes(4, "little", signed=True)


def delete(data: bytearray, rng: np.random.Generator) -> None:
    at = int(rng.integers(len(data)))
    del data[at : at + int(rng.integers(1, 32))]


def repeat(data: bytearray, rng: np.random.Generator) -> None:
    at = int(rng.integers(len(data)))
    data[at:at] = data[at : at + int(rng.integers(1, 32))]


MUTATIONS: tuple[Mutation, ...] = (flip, cut, blank, field, delete, repeat)


def put(path: Path, data: bytes | bytearray) -> None:
    path.unlink()  # cutting an old file short makes some file systems wait for the disk, 4 ms each
    path.write_bytes(data)


@pytest.mark.parametrize("kind", KINDS)
def test_no_damaged_file_is_accepted(tmp_path: Path, kind: str) -> None:
    model, path = KINDS[kind](), tmp_path / "small.gpuseg"
    model.save(path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    refused, mutants = 0, MUTANTS if kind == "pixel" else MUTANTS // 5
    for k in range(mutants):
        data = bytearray(whole)
        MUTATIONS[k % len(MUTATIONS)](data, rng)
        put(path, data)
        try:
            found = type(model).load(path)
        except ModelError:
            refused += 1
        else:  # only where the damage changed nothing: a blank in the padding
            assert found.hash == model.hash
            assert found.provenance == model.provenance
    assert refused > 0.97 * mutants


def mutated_value(value: Any, rng: np.random.Generator) -> Any:
    """JSON with one value, somewhere inside, replaced."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = list(value)[int(rng.integers(len(value)))]
        return value | {key: mutated_value(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = int(rng.integers(len(value)))
        return [*value[:at], mutated_value(value[at], rng), *value[at + 1 :]]
    strange = [
        None,
        True,
        0,
        -1,
        3,
        2**40,
        1e308,
        -0.5,
        1e-320,
        "",
        "x",
        "gaussian_smoothing",
        [],
        {},
        [1, 2, 3],
    ]
    return strange[int(rng.integers(len(strange)))]


@pytest.mark.parametrize("kind", KINDS)
def test_no_invalid_model_is_accepted_though_its_checksum_is_right(tmp_path: Path, kind: str) -> None:
    model, path = KINDS[kind](), tmp_path / "small.gpuseg"
    model.save(path)
    header, arrays = parts_of(path)
    rng = np.random.default_rng(1)
    accepted, mutants = 0, MUTANTS if kind == "pixel" else MUTANTS // 2
    for k in range(mutants):
        text, changed = json.dumps(header), dict(arrays)
        if k % 3 == 0:
            text = json.dumps(mutated_value(header, rng))
        elif k % 3 == 1:
            raw = bytearray(text.encode())
            MUTATIONS[k % len(MUTATIONS)](raw, rng)
            text = raw.decode(errors="ignore")
        else:
            name = list(arrays)[int(rng.integers(len(arrays)))]
            raw = bytearray(arrays[name].tobytes())
            MUTATIONS[k % len(MUTATIONS)](raw, rng)
            kept = np.frombuffer(bytes(raw[: len(raw) // 8 * 8]), arrays[name].dtype)
            changed[name] = kept.reshape(-1, 2) if name.endswith("leaves") else kept
        put(path, sealed(text, changed))
        try:
            found = Pipeline.load(path)
        except ModelError:
            continue
        accepted += 1
        for stage in (found.pixel, found.objects):
            if stage is not None:
                check_forest(stage)
        if found.pixel is not None:
            with suppress(InputError):  # too large a sigma, too many channels: said when an image is there
                found.pixel.check_image(sizes("yx", (64, 64)))
                assert len(found.pixel.selection.jobs(found.pixel.channels, found.pixel.depth)) > 0
    assert 0 < accepted < mutants / 2


def check_forest(stage: Any) -> None:
    """It gives probabilities."""
    planes = np.zeros((stage.forest.n_features, 1, 1, 4), np.float32)
    proba = get_backend("cpu").forest_proba(planes, stage.forest)
    assert proba.shape == (1, 1, 4, len(stage.classes))
    assert np.isfinite(proba).all()
    assert proba.min() >= 0
    assert proba.max() <= 1 + 1e-4
