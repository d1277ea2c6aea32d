"""OME-Zarr 0.4 and 0.5 and plain zarr arrays, read by region; written as OME-Zarr 0.5."""

from gpuseg.io.base import Format
from gpuseg.io.zarr.reader import ZarrReader
from gpuseg.io.zarr.writer import ZarrWriter, carry

FORMAT = Format(
    name="OME-Zarr",
    suffixes=(".zarr",),
    open=ZarrReader,
    create=ZarrWriter,
    inside=True,
    folder=True,
    carry=carry,
)
