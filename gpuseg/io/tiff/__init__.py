"""TIFF: plain, multi-page, ImageJ, OME, BigTIFF, tiled, compressed; written as OME-TIFF."""

from gpuseg.io.base import Format
from gpuseg.io.tiff.reader import open_tiff
from gpuseg.io.tiff.writer import TiffWriter

FORMAT = Format(
    name="TIFF",
    suffixes=(".tif", ".tiff", ".svs"),
    open=open_tiff,
    create=TiffWriter,
)
