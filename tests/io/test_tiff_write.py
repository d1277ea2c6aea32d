"""OME-TIFF: what is written reads back here and in tifffile, is whole or absent, and the same each time."""

import errno
import resource
from pathlib import Path

import numpy as np
import pytest
import tifffile

from gpuseg.axes import Voxel, reorder
from gpuseg.errors import FileError, InputError, ResourceError
from gpuseg.io import Output, create_image, open_image

RNG = np.random.default_rng(11)
VOXEL = Voxel(
    {"x": 0.5, "y": 0.25, "z": 2.0, "t": 3.0},
    {"x": "micrometer", "y": "nanometer", "z": "millimeter", "t": "minute"},
)


def write(path: Path, pixels: np.ndarray, axes: str, step: int = 7, **more: object) -> None:
    with create_image(path, Output(pixels.shape, pixels.dtype, axes, **more)) as writer:
        for start in range(0, len(pixels), step):
            region = (slice(start, start + step), *(slice(0, n) for n in pixels.shape[1:]))
            writer.write(region, pixels[region])


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i1", "i4", "f4", "f8", ">u2"])
@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ("yx", (70, 90)),
        ("yx", (1, 1)),
        ("xy", (30, 20)),
        ("zyx", (3, 50, 60)),
        ("yxc", (60, 53, 3)),
        ("tyx", (4, 1, 9)),
        ("tzyxc", (2, 3, 20, 30, 2)),
    ],
)
def test_what_is_written_reads_back(axes, shape, dtype, tmp_path):
    pixels = (RNG.random(shape) * 100).astype(dtype)
    write(tmp_path / "a.tif", pixels, axes, voxel=VOXEL)
    with open_image(tmp_path / "a.tif") as image:
        assert image.axes_from == "file"
        np.testing.assert_array_equal(reorder(image.read(), image.axes, axes), pixels)
        kept = {a: s for a, s in VOXEL.size.items() if a in image.axes}
        assert dict(image.voxel.size) == kept
        assert dict(image.voxel.unit) == {a: VOXEL.unit[a] for a in kept}


def test_tifffile_sees_an_ome_tiff(tmp_path):
    pixels = RNG.random((600, 530, 2), np.float32)
    write(
        tmp_path / "a.tif", pixels, "yxc", 512, channel_names=("cell", "gap"), provenance='{"model": "<a>"}'
    )
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        series, page = tif.series[0], tif.pages.first
        assert (series.axes, series.shape, series.kind) == ("CYX", (2, 600, 530), "ome")
        assert (page.tile, page.compression, page.predictor) == ((512, 512), 8, 1)
        assert 'Name="cell"' in tif.ome_metadata
        assert "&lt;a&gt;" in tif.ome_metadata
        assert not tif.is_bigtiff
        np.testing.assert_array_equal(tif.asarray(), pixels.transpose(2, 0, 1))


def test_labels_are_plain_integers_with_a_predictor(tmp_path):
    labels = np.kron(RNG.integers(0, 9, (10, 10)), np.ones((60, 60))).astype("u1")
    write(tmp_path / "a.tif", labels, "yx", 512, kind="labels")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), labels)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.pages.first.predictor == 2
    assert (tmp_path / "a.tif").stat().st_size < labels.nbytes / 20


def test_large_images_get_wide_offsets(tmp_path, monkeypatch):
    monkeypatch.setattr("gpuseg.io.tiff.writer.CLASSIC", 1000)
    write(tmp_path / "a.tif", np.ones((40, 40), "u1"), "yx")
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.is_bigtiff


def test_equal_images_are_equal_files(tmp_path):
    pixels = RNG.random((50, 60), np.float32)
    for name, step in (("a.tif", 7), ("b.tif", 50)):
        write(tmp_path / name, pixels, "yx", step)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    write(tmp_path / "c.tif", pixels + 1, "yx")
    with tifffile.TiffFile(tmp_path / "a.tif") as a, tifffile.TiffFile(tmp_path / "c.tif") as c:
        assert a.ome_metadata != c.ome_metadata


@pytest.mark.parametrize("dtype", ["bool", "u8", "f2"])
def test_types_that_ome_lacks_are_refused(dtype, tmp_path):
    with pytest.raises(
        InputError, match=r"OME-TIFF holds uint8, .* or float64; the image is \w+\n  hint: choose"
    ):
        write(tmp_path / "a.tif", np.zeros((4, 4), dtype), "yx")
    assert not list(tmp_path.iterdir())


def test_an_image_without_pixels_is_refused(tmp_path):
    with pytest.raises(FileError, match=r"shape \(0, 4\) has no pixels"):
        write(tmp_path / "a.tif", np.zeros((0, 4), "u1"), "yx")


def test_parts_of_a_tiff_file_are_refused(tmp_path):
    with pytest.raises(FileError, match="TIFF files hold one image, nothing called 'b'"):
        write(tmp_path / "a.tif" / "b", np.zeros((4, 4), "u1"), "yx")


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(ResourceError, match="No space left"):
        write(tmp_path / "a.tif", np.zeros((4, 4), "u1"), "yx")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_while_encoding_leaves_nothing(tmp_path):
    """Noise does not compress: the scratch file just fits the limit, the encoded file does not."""
    pixels = RNG.integers(0, 255, (1024, 1024)).astype("u1")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    output = Output(pixels.shape, pixels.dtype, "yx")
    resource.setrlimit(resource.RLIMIT_FSIZE, (pixels.nbytes, hard))
    try:
        with (
            pytest.raises(ResourceError, match=r"a\.tif: cannot be written"),
            create_image(tmp_path / "a.tif", output) as writer,
        ):
            writer.write((slice(0, 1024), slice(0, 1024)), pixels)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert not list(tmp_path.iterdir())


def test_space_is_reserved_where_the_system_has_no_call_for_it(tmp_path, monkeypatch):
    monkeypatch.delattr("os.posix_fallocate")
    pixels = RNG.integers(0, 255, (1100, 1000)).astype("u1")
    write(tmp_path / "a.tif", pixels, "yx", 512)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), pixels)


def test_an_error_between_writes_leaves_nothing(tmp_path):
    pixels = np.zeros((8, 8), "u1")
    with pytest.raises(KeyError, match="stopped"):
        half(tmp_path / "a.tif", pixels)
    assert not list(tmp_path.iterdir())


def half(path: Path, pixels: np.ndarray) -> None:
    with create_image(path, Output(pixels.shape, pixels.dtype, "yx")) as writer:
        writer.write((slice(0, 4), slice(0, 8)), pixels[:4])
        raise KeyError("stopped")
