"""Forms, ilastik's names for ways to write: what each holds comes back, what it cannot hold is said."""

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

from gpuseg.axes import Voxel, reorder
from gpuseg.errors import FileError, InputError, ShapeError
from gpuseg.io import (
    FORMATS,
    FORMS,
    Format,
    Output,
    check_form,
    create_image,
    find_form,
    open_image,
    output_paths,
    sequence_paths,
    with_suffix,
)
from gpuseg.io.forms import ALIASES
from gpuseg.tiles import tiles

RNG = np.random.default_rng(17)
PAGE = Path(__file__).parents[2] / "docs" / "files.md"
VOXEL = Voxel(
    {"x": 0.5, "y": 0.25, "z": 2.0, "t": 3.0},
    {"x": "micrometer", "y": "nanometer", "z": "millimeter", "t": "minute"},
)
ANY = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8")  # ilastik's ten
OME = ("u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8")
PLAIN = ("u1", "u2", "u4", "u8", "f4", "f8")
FLAT = (("yx", (70, 90)), ("xy", (30, 20)), ("yx", (1, 1)), ("tzyxc", (1, 1, 20, 30, 1)))
RGB = (("yxc", (60, 53, 3)), ("cyx", (3, 33, 20)))
DEEP = (
    *FLAT[:3],
    *(("zyx", (3, 50, 60)), ("yxc", (60, 53, 3)), ("tyx", (4, 1, 9)), ("tzyxc", (2, 3, 20, 30, 2))),
)
STACK = (("zyx", (3, 50, 60)), ("tyx", (2, 1, 9)), ("zxyc", (2, 30, 20, 1)), ("cyx", (2, 20, 30)))
STACK_RGB = (("zyxc", (2, 30, 20, 3)),)
# form -> the axes and the types that come back from it
HOLDS = {
    **dict.fromkeys([f for f in FORMS if "hdf5" in f or "zarr" in f or f == "numpy"], (DEEP, ANY)),
    "multipage tiff": (DEEP, OME),
    "multipage tiff sequence": ((*STACK, *STACK_RGB, ("tzyxc", (2, 3, 20, 30, 2))), OME),
    "tiff": ((*FLAT, *RGB, ("yxc", (30, 20, 2)), ("yxc", (700, 900, 4))), PLAIN),
    "tiff sequence": ((*STACK, ("zyxc", (2, 30, 20, 4))), PLAIN),
    "png": ((*FLAT, *RGB), ("u1", "u2")),
    "png sequence": ((*STACK, *STACK_RGB), ("u1", "u2")),
    "bmp": ((*FLAT, *RGB), ("u1",)),
    "bmp sequence": ((*STACK, *STACK_RGB), ("u1",)),
    "gif": (FLAT, ("u1",)),
    "gif sequence": (STACK, ("u1",)),
}
LOSSY = {"jpeg", "jpeg sequence"}
ROWS = [(f, *case, types[0]) for f, (cases, types) in HOLDS.items() for case in cases]
ROWS += [(f, *cases[-1], t) for f, (cases, types) in HOLDS.items() for t in types[1:]]


def noise(shape, dtype="u1"):
    return (RNG.random(shape) * 120).astype(dtype)


def name_of(form):
    return "a_{slice_index}.x" if FORMS[form].sequence else "a.x"


def write(path, values, axes, form=None, size=16, **facts):
    """In tiles, the last one first; returns the files that appeared."""
    output = Output(values.shape, values.dtype, axes, **facts)
    check_form(form, path, output)
    with create_image(path, output, form) as writer:
        for tile in reversed(list(tiles(values.shape, [size] * values.ndim, [0] * values.ndim))):
            writer.write(tile.core, values[tile.core])
    return [Path(p) for p in output_paths(path, output, form)]


def load(path, axes):
    with open_image(path, axes if path.suffix == ".npy" else None) as image:
        return reorder(image.read(), image.axes, axes)


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_every_form_is_written_here():
    assert set(HOLDS) | LOSSY == set(FORMS)


@pytest.mark.parametrize(("form", "axes", "shape", "dtype"), ROWS, ids=lambda v: str(v).replace(" ", ""))
def test_what_a_form_holds_comes_back(tmp_path, form, axes, shape, dtype):
    values = noise(shape, dtype)
    files = write(tmp_path / name_of(form), values, axes, form, voxel=VOXEL)
    assert sorted(tmp_path.iterdir()) == files
    if not FORMS[form].sequence:
        (file,), rest = files, axes
        found = load(file, axes)
    else:
        rest = axes[1:]
        found = np.stack([load(f, rest) for f in files])
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("form", [f for f in FORMS if f not in LOSSY])
def test_equal_images_are_equal_files(tmp_path, form):
    axes, shape = HOLDS[form][0][0]
    values = noise(shape)
    for folder, size in (("one", 7), ("two", 64)):
        write(tmp_path / folder / name_of(form), values, axes, form, size, voxel=VOXEL)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    write(tmp_path / "three" / name_of(form), values + 1, axes, form)
    assert content(tmp_path / "one") != content(tmp_path / "three")


SIZED = [f for f in FORMS if f not in LOSSY and not set(f.split()) & {"png", "bmp", "gif", "numpy"}]


@pytest.mark.parametrize("form", SIZED)
def test_pixel_size_comes_back_where_it_can_be_stored(tmp_path, form):
    flat = form in ("tiff", "tiff sequence")
    axes = "zyx" if FORMS[form].sequence or not flat else "yx"
    files = write(tmp_path / name_of(form), noise((3, 20, 30)[-len(axes) :]), axes, form, voxel=VOXEL)
    meters = {"micrometer": 1e-6, "nanometer": 1e-9, "millimeter": 1e-3}
    with open_image(files[-1]) as image:
        found = {a: s * meters[image.voxel.unit[a]] for a, s in image.voxel.size.items()}
        assert set(found) == set(image.axes)
    expected = {"x": 0.5e-6, "y": 0.25e-9, "z": 2e-3}
    assert found == pytest.approx({a: expected[a] for a in found}, rel=1e-5)


@pytest.mark.parametrize(
    "name", ["PNG Sequence", " compressed  HDF5", "jpg", "TIF", "Multi-scale OME-Zarr 0.4"]
)
def test_names_are_found_in_any_case(name):
    form = find_form(name)
    key = " ".join(name.casefold().split())
    assert form.title.casefold() == ALIASES.get(key, key)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("pngs", "did you mean 'png'?"),
        ("compresed hdf5", "did you mean 'compressed hdf5'?"),
        ("n5", "There are hdf5, compressed hdf5,"),
    ],
)
def test_an_unknown_name_lists_the_known_ones(name, near):
    with pytest.raises(InputError, match=f"no format is called '{name}'") as caught:
        find_form(name)
    assert near in caught.value.hint
    assert all(f in caught.value.hint for f in FORMS)


@pytest.mark.parametrize(
    ("path", "form", "expected"),
    [
        ("a/b.tif", "hdf5", "a/b.h5"),
        ("a/b.TIF", "hdf5", "a/b.h5"),
        ("a/b", "png", "a/b.png"),
        ("a/b.hdf5", "hdf5", "a/b.hdf5"),  # already what the form wants
        ("b.tif", "multipage tiff", "b.tif"),
        ("b.jpg", "jpeg", "b.jpg"),
        ("b.png", "jpeg", "b.jpeg"),
        ("b_1.5um", "tiff", "b_1.5um.tiff"),  # .5um is no suffix
        ("a.h5/x/y", "compressed hdf5", "a.h5/x/y"),
        ("a.h5/x", "multi-scale ome-zarr", "a.zarr/x"),
        ("a.zarr/labels/cells", "single-scale ome-zarr 0.4", "a.zarr/labels/cells"),
        ("{nickname}_{slice_index}.h5", "png sequence", "{nickname}_{slice_index}.png"),
        ("a.tif", None, "a.tif"),
    ],
)
def test_the_suffix_of_the_form_replaces_the_given_one(path, form, expected):
    assert with_suffix(path, form) == expected
    assert form is None or with_suffix(path, find_form(form)) == expected


def test_slices_are_numbered_so_that_names_sort():
    assert sequence_paths("a_{slice_index}.png", 2) == ["a_0000.png", "a_0001.png"]
    many = sequence_paths("{slice_index}/a.png", 20_000)
    assert many == sorted(many)
    assert many[-1] == "19999/a.png"


STACKED = Output((3, 20, 30), np.dtype("u1"), "zyx")
PICTURE = Output((20, 30), np.dtype("u1"), "yx")


@pytest.mark.parametrize("act", [check_form, lambda form, path, output: create_image(path, output, form)])
@pytest.mark.parametrize(
    ("form", "path", "output", "match"),
    [
        ("png sequence", "a.png", STACKED, r"a\.png: a sequence has many .*\n  hint: write \{slice_index\}"),
        ("png", "a_{slice_index}.png", PICTURE, r"numbers the files of a sequence, and this is one file"),
        (None, "a_{slice_index}.png", PICTURE, r"leave it out, or choose a format whose name ends in"),
        ("png sequence", "a_{slice_index}", PICTURE, r"axis, and axes 'yx' begin with y\n  hint: put t, z"),
        ("tiff", "a.h5/x", PICTURE, r"a\.tiff/x: TIFF files hold one image, nothing called 'x'"),
        ("pdf", "a", PICTURE, "no format is called 'pdf'"),
    ],
)  # fmt: skip
def test_a_name_that_does_not_fit_the_form_is_refused(tmp_path, act, form, path, output, match):
    with pytest.raises(InputError, match=match):
        act(form, tmp_path / path, output)
    assert not list(tmp_path.iterdir())


def limited(shape, dtype="u1", axes="yx", **more):
    return Output(shape, np.dtype(dtype), axes, **more)


LIMITS = [
    ("png", limited((9, 9), "f4"), r"PNG holds uint8 or uint16 with 1 or 3 channels; the .* float32 with 1"),
    ("png", limited((9, 9, 4), "u1", "yxc"), r"the image is uint8 with 4\n  hint: choose \.tif, \.h5"),
    ("png", limited((4, 9, 9), "u1", "zyx"), r"PNG is two-dimensional, the image has \{'z': 4\}"),
    ("png sequence", limited((5, 4, 9, 9), "u1", "tzyx"), r"PNG is two-dim.*, the image has \{'z': 4\}"),
    ("jpeg", limited((9, 9, 3), "u1", "yxc"), r"JPEG holds uint8 with 1 channel; the image is uint8 with 3"),
    ("jpeg", limited((9, 9), "u2"), r"the image is uint16 with 1\n  hint: choose \.png"),
    ("jpeg", limited((9, 70_000)), r"JPEG holds up to 65500 pixels along y and x, the image has 9 and 70000"),
    ("jpg", limited((9, 9), kind="labels"), r"JPEG changes pixel values.* labels .*\n  hint: choose"),
    ("jpeg sequence", limited((2, 9, 9), "u1", "zyx", kind="labels"), r"a_0000\.jpeg: JPEG changes"),
    ("bmp", limited((9, 9), "u2"), r"BMP holds uint8 with 1 or 3 channels; the image is uint16 with 1"),
    ("bmp", limited((50_000, 50_000)), r"BMP holds up to 2\.1 GB, the image has 2\.5 GB"),
    ("gif", limited((9, 9, 3), "u1", "yxc"), r"GIF holds uint8 with 1 channel; the image is uint8 with 3"),
    ("gif", limited((70_000, 9)), r"GIF holds up to 65535 pixels along y and x, the image has 70000 and 9"),
    ("tiff", limited((9, 9), "i2"), r"plain TIFF holds uint8, .* with 1, 2, 3 or 4 .* is int16 with 1"),
    ("tiff", limited((9, 9, 5), "u1", "yxc"), r"is uint8 with 5\n  hint: choose 'multipage tiff'"),
    ("tiff", limited((4, 9, 9), "u1", "tyx"), r"plain TIFF is two-dimensional, the image has \{'t': 4\}"),
    ("multipage tiff", limited((9, 9), "u8"), r"OME-TIFF holds uint8, .*; the image is uint64\n  hint"),
    (None, limited((9, 9), "c8"), r"pixels of type complex64"),
    ("hdf5", limited((9, 9), "u1", "zyx"), r"axes 'zyx' name 3 axes, the array has 2"),
    ("png sequence", limited((9, 9), "u1", "zyx"), r"axes 'zyx' name 3 axes, the array has 2"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "output", "match"), LIMITS)
def test_what_a_form_cannot_hold_is_said_before_anything_is_made(tmp_path, form, output, match):
    path = tmp_path / ("a_{slice_index}.h5" if form and "sequence" in form else "a.h5")
    with pytest.raises((InputError, ShapeError), match=match) as early:
        check_form(form, path, output)
    with pytest.raises(type(early.value)) as late, create_image(path, output, form):
        pass
    assert str(late.value) == str(early.value)
    assert early.value.problem.startswith(str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_format_of_a_plugin_has_no_limits(tmp_path, monkeypatch):
    from gpuseg.io.npy import NpyReader, NpyWriter

    monkeypatch.setitem(FORMATS, ".mine", Format("mine", (".mine",), NpyReader, NpyWriter))
    write(tmp_path / "a.mine", noise((2, 3, 4, 5, 6), "i8"), "tzyxc")
    check_form(None, tmp_path / "a.mine", limited((9, 9, 99), "f2", "yxc"))


def test_a_folder_under_the_name_of_a_slice_is_refused(tmp_path):
    (tmp_path / "a_0002.png").mkdir()
    for act in (check_form, lambda f, p, o: create_image(p, o, f).__enter__()):
        with pytest.raises(FileError, match=r"a_0002\.png: is a folder"):
            act("png sequence", tmp_path / "a_{slice_index}", STACKED)


def test_a_sequence_of_channels_is_a_file_for_each(tmp_path):
    values = noise((3, 20, 30), "f4")
    files = write(
        tmp_path / "a{slice_index}.h5",
        values,
        "cyx",
        "multipage tiff sequence",
        channel_names=("a", "b", "c"),
    )
    assert [f.name for f in files] == ["a0000.tiff", "a0001.tiff", "a0002.tiff"]
    np.testing.assert_array_equal(tifffile.imread(files[2]), values[2])


def test_the_number_may_name_a_folder(tmp_path):
    values = noise((2, 20, 30))
    files = write(tmp_path / "{slice_index}" / "a.png", values, "zyx", "png sequence")
    assert files[1] == tmp_path / "0001" / "a.png"
    np.testing.assert_array_equal(load(files[1], "yx"), values[1])


def test_slices_larger_than_what_is_copied_at_once_come_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("gpuseg.io.sequence.PIXELS", 100)
    values = noise((2, 3, 37, 41), "u2")
    files = write(tmp_path / "a{slice_index}", values, "tzyx", "multipage tiff sequence")
    np.testing.assert_array_equal(np.stack([load(f, "zyx") for f in files]), values)


def test_the_page_lists_every_form():
    text = PAGE.read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    listed = [name for row in rows for name in re.findall(r"`([^.`][^`]*)`", row)]
    assert sorted(listed) == sorted(f.title for f in FORMS.values())
