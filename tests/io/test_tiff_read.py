"""TIFF files of every kind read as tifffile reads them, whole and by region, with axes and voxel size."""

import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile

from gpuseg.errors import FileError, GpusegError
from gpuseg.io import open_image
from gpuseg.io.tiff import FORMAT

RNG = np.random.default_rng(7)
STACK = RNG.integers(0, 4000, (3, 40, 48)).astype("u2")
COLOR = RNG.integers(0, 255, (70, 50, 3)).astype("u1")
PLAIN = {"metadata": None, "photometric": "minisblack"}
OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
KINDS = {
    "one strip": (STACK[0], PLAIN),
    "strips": (STACK[0], PLAIN | {"rowsperstrip": 7}),
    "big endian": (STACK, PLAIN | {"byteorder": ">"}),
    "bigtiff": (STACK, PLAIN | {"bigtiff": True}),
    "tiles": (STACK, PLAIN | {"tile": (16, 32)}),
    "zlib tiles, predictor": (STACK, PLAIN | {"tile": (16, 16), "compression": "zlib", "predictor": True}),
    "zlib strips": (STACK, PLAIN | {"compression": "zlib", "rowsperstrip": 9}),
    "lzw": (STACK, PLAIN | {"compression": "lzw", "rowsperstrip": 9}),
    "lzma": (STACK, PLAIN | {"compression": "lzma"}),
    "zstd": (STACK, PLAIN | {"compression": "zstd"}),
    "packbits": (COLOR[..., 0], PLAIN | {"compression": "packbits"}),
    "float predictor": (
        STACK.astype("f4"),
        PLAIN | {"compression": "zlib", "predictor": True, "rowsperstrip": 9},
    ),
    "colours": (COLOR, {"photometric": "rgb", "metadata": None}),
    "colours, tiled": (COLOR, {"photometric": "rgb", "tile": (32, 16), "compression": "zlib"}),
    "colours, planar": (COLOR.transpose(2, 0, 1), {"photometric": "rgb", "planarconfig": "separate"}),
    "colours, planar lzw strips": (
        COLOR.transpose(2, 0, 1),
        {"photometric": "rgb", "planarconfig": "separate", "compression": "lzw", "rowsperstrip": 16},
    ),
    "volume in tiles": (RNG.random((20, 33, 34), np.float32), {"volumetric": True, "tile": (16, 16, 16)}),
    "bool": (STACK[0] > 2000, {}),
    "imagej": (STACK, {"imagej": True}),
    "ome": (STACK, {"ome": True}),
}


def read(path: Path) -> np.ndarray:
    with open_image(path) as image:
        return image.read()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_reads_whole_and_by_region(kind, tmp_path):
    pixels, options = KINDS[kind]
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    reader = FORMAT.open(tmp_path / "a.tif", "")
    assert (reader.shape, reader.dtype) == (pixels.shape, pixels.dtype)
    np.testing.assert_array_equal(reader.read(tuple(slice(0, n) for n in pixels.shape)), pixels)
    for _ in range(12):
        low = [int(RNG.integers(0, n)) for n in pixels.shape]
        region = tuple(slice(a, int(RNG.integers(a, n)) + 1) for a, n in zip(low, pixels.shape, strict=True))
        np.testing.assert_array_equal(reader.read(region), pixels[region])
    reader.close()


@pytest.mark.parametrize(
    ("axes", "shape", "options", "expected"),
    [
        ("YX", (20, 30), {"imagej": True}, "yx"),
        ("TZCYX", (2, 3, 4, 20, 30), {"imagej": True}, "tzcyx"),
        ("ZYXS", (3, 20, 30, 3), {"imagej": True}, "zyxc"),
        ("TCZYX", (2, 4, 3, 20, 30), {"ome": True}, "tczyx"),
        ("CYX", (5, 20, 30), {"ome": True}, "cyx"),
        ("YXS", (20, 30, 3), {"ome": True, "photometric": "rgb"}, "yxc"),
        ("ZYX", (3, 20, 30), {}, "zyx"),
        ("QYX", (3, 20, 30), {}, None),
        ("AYX", (3, 20, 30), {}, None),
        ("QTZYXC", (1, 1, 3, 20, 30, 1), {}, "tzyxc"),
    ],
)
def test_axes_come_from_the_file(axes, shape, options, expected, tmp_path):
    options = {"photometric": "minisblack"} | options
    if axes.endswith("S"):
        options["photometric"] = "rgb"
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, "u1"), metadata={"axes": axes}, **options)
    assert FORMAT.open(tmp_path / "a.tif", "").axes == expected


def test_pages_without_metadata_are_one_leading_axis(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, metadata=None, photometric="minisblack")
    with open_image(tmp_path / "a.tif") as image:
        assert (image.shape, image.axes, image.axes_from) == (STACK.shape, "zyx", "shape")


def test_channels_of_colours_are_refused(tmp_path):
    pixels = np.zeros((2, 20, 30, 3), "u1")
    tifffile.imwrite(
        tmp_path / "a.tif",
        pixels,
        ome=True,
        photometric="rgb",
        metadata={"axes": "CYXS"},
        planarconfig="contig",
    )
    with pytest.raises(FileError, match="2 channels of 3 samples"):
        read(tmp_path / "a.tif")


def test_palettes_stay_indices(tmp_path):
    palette = RNG.integers(0, 65535, (3, 256)).astype("u2")
    tifffile.imwrite(tmp_path / "a.tif", COLOR[..., 0], photometric="palette", colormap=palette)
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), COLOR[..., 0])


def test_voxel_size_from_ome(tmp_path):
    meta = {"axes": "TZYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.25}
    meta |= {
        "PhysicalSizeZ": 2.0,
        "PhysicalSizeZUnit": "mm",
        "TimeIncrement": 3.0,
        "TimeIncrementUnit": "min",
    }
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 3, 20, 30), "u1"), ome=True, metadata=meta)
    voxel = FORMAT.open(tmp_path / "a.tif", "").voxel
    assert dict(voxel.size) == {"x": 0.5, "y": 0.25, "z": 2.0, "t": 3.0}
    assert dict(voxel.unit) == {"x": "nanometer", "y": "micrometer", "z": "millimeter", "t": "minute"}


def test_voxel_size_from_imagej(tmp_path):
    meta = {"axes": "TZYX", "unit": "um", "spacing": 3.0, "finterval": 5.0, "zunit": "nm"}
    pixels = np.zeros((2, 3, 20, 30), "u1")
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, metadata=meta, resolution=(4.0, 2.0))
    voxel = FORMAT.open(tmp_path / "a.tif", "").voxel
    assert dict(voxel.size) == {"x": 0.25, "y": 0.5, "z": 3.0, "t": 5.0}
    assert dict(voxel.unit) == {"x": "micrometer", "y": "micrometer", "z": "nanometer", "t": "second"}


def test_sizes_in_pixels_are_no_sizes(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", STACK, imagej=True, metadata={"axes": "ZYX", "unit": "pixel", "spacing": 2.0}
    )
    assert not FORMAT.open(tmp_path / "a.tif", "").voxel.size


@pytest.mark.parametrize("spacing", ["-2", "nan", "0", "wide"])
def test_impossible_sizes_are_ignored_with_a_message(spacing, tmp_path, caplog):
    text = f"ImageJ=1.54f\nimages=3\nslices=3\nunit=um\nspacing={spacing}\n"
    tifffile.imwrite(
        tmp_path / "a.tif", STACK, description=text, metadata=None, photometric="minisblack", software=False
    )
    reader = FORMAT.open(tmp_path / "a.tif", "")
    assert reader.axes == "zyx"
    assert "z" not in reader.voxel.size
    assert "impossible" in caplog.text


def test_the_first_of_several_images_is_read_and_said(tmp_path, caplog):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        for pixels in (STACK[0], STACK[1, :20]):
            tif.write(pixels)
    np.testing.assert_array_equal(read(tmp_path / "a.ome.tif"), STACK[0])
    assert "holds 2 images; the first" in caplog.text


def test_the_finest_level_of_a_pyramid_is_read(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        tif.write(COLOR, subifds=1, photometric="rgb")
        tif.write(COLOR[::2, ::2], subfiletype=1, photometric="rgb")
    np.testing.assert_array_equal(read(tmp_path / "a.ome.tif"), COLOR)


def test_images_over_several_files_are_read(tmp_path):
    names = ["a.ome.tif", "b.ome.tif"]
    tiff_data = "".join(
        f'<TiffData FirstZ="{i}" IFD="0" PlaneCount="1"><UUID FileName="{n}">urn:uuid:{i}</UUID></TiffData>'
        for i, n in enumerate(names)
    )
    for i, name in enumerate(names):
        xml = (
            f'<OME xmlns="{OME}" UUID="urn:uuid:{i}"><Image ID="I:0">'
            '<Pixels ID="P:0" DimensionOrder="XYZCT" Type="uint16" SizeX="48" SizeY="40" SizeC="1" SizeZ="2" '
            f'SizeT="1"><Channel ID="C:0" SamplesPerPixel="1"/>{tiff_data}</Pixels></Image></OME>'
        )
        tifffile.imwrite(tmp_path / name, STACK[i], description=xml, metadata=None, photometric="minisblack")
    np.testing.assert_array_equal(read(tmp_path / "a.ome.tif"), STACK[:2])
    (tmp_path / "b.ome.tif").unlink()
    with pytest.raises(FileError, match="plane 1 of 2 is declared and missing"):
        read(tmp_path / "a.ome.tif")


def test_one_description_for_many_planes_is_read(tmp_path):
    """ImageJ above 4 GB describes the first plane and lets the others follow."""
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, truncate=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert len(tif.pages) == 1
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), STACK)


def test_old_strips_leave_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("gpuseg.io.tiff.reader.CACHE", 2000)
    tifffile.imwrite(tmp_path / "a.tif", STACK, compression="zlib", rowsperstrip=4, **PLAIN)
    reader = FORMAT.open(tmp_path / "a.tif", "")
    for _ in range(2):
        np.testing.assert_array_equal(reader.read(tuple(slice(0, n) for n in STACK.shape)), STACK)
    assert reader._cached == sum(s.nbytes for s in reader._cache.values()) <= 2000


def test_logs_of_tifffile_go_on_outside(caplog):
    logging.getLogger("tifffile").warning("about something else")
    assert "about something else" in caplog.text


REFUSED = {
    "pillow/multipage.tiff": "pages differ",
    "pillow/multipage-mmap.tiff": "pages differ",
}
BROKEN = {
    "imread/00r00.tiff": "without pages",
    "imread/error.tif": "not a TIFF file",
    "pillow/crash-0c7e0e8e11ce787078f00b5b0ca409a167f070e0.tif": "ends at byte 29068, the file has 2529",
    "pillow/crash-338516dbd2f0e83caddb8ce256c22db3bd6dc40f.tif": "ends at byte 71401, the file has 4682",
    "pillow/crash-86214e58da443d2b80820cff9677a38a33dcbbca.tif": "ends at byte 72963, the file has 286",
    "pillow/multipage_out_of_order.tiff": "pages differ",
    "pillow/tiff_wrong_bits_per_sample.tiff": "ends at byte 35711600, the file has 11184",
}


def test_real_files_read_as_tifffile_reads_them(shared):
    folder = shared / "data" / "formats"
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".tif", ".tiff", ".svs"))
    assert len(files) > 60
    for path in files:
        name = path.relative_to(folder).as_posix()
        if name in REFUSED:
            with pytest.raises(GpusegError, match=REFUSED[name]):
                FORMAT.open(path, "")
            continue
        reader = FORMAT.open(path, "")
        pixels = reader.read(tuple(slice(0, n) for n in reader.shape))
        expected = tifffile.imread(path)
        assert pixels.dtype == expected.dtype or (pixels.dtype == bool and expected.max() <= 1), name
        np.testing.assert_array_equal(pixels.ravel(), expected.ravel(), err_msg=name)


@pytest.mark.parametrize("name", BROKEN)
def test_real_broken_files_are_refused(name, shared):
    with pytest.raises(FileError, match=BROKEN[name]):
        FORMAT.open(shared / "data" / "malformed" / name, "")
