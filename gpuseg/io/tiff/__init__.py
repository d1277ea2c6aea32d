"""TIFF: plain, multi-page, ImageJ, OME, BigTIFF, tiled, compressed; written as OME-TIFF or as plain TIFF."""

from gpuseg.io.base import Format, Limits
from gpuseg.io.tiff.reader import open_tiff
from gpuseg.io.tiff.writer import PlainTiffWriter, TiffWriter

SUFFIXES = (".tif", ".tiff", ".svs")
FORMAT = Format(
    name="TIFF",
    suffixes=SUFFIXES,
    open=open_tiff,
    create=TiffWriter,
    limits=Limits(
        name="OME-TIFF",
        dtypes=("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64"),  # that OME has
        instead="choose .h5, .zarr or .npy, or convert",
    ),
)
PLAIN = Format(
    name="TIFF",
    suffixes=SUFFIXES,
    open=open_tiff,
    create=PlainTiffWriter,
    limits=Limits(
        name="plain TIFF",
        dtypes=("uint8", "uint16", "uint32", "uint64", "float32", "float64"),
        channels=(1, 2, 3, 4),
        flat=True,
        instead="choose 'multipage tiff', 'compressed hdf5', 'multi-scale ome-zarr' or 'numpy'",
    ),
)
