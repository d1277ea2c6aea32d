"""OME-Zarr 0.4 and 0.5 and plain zarr arrays, read by region; written as OME-Zarr."""

from dataclasses import replace
from functools import partial

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
SINGLE = replace(FORMAT, create=partial(ZarrWriter, pyramid=False))
_carry_04 = partial(carry, version=2)
FORMAT_04 = replace(FORMAT, create=partial(ZarrWriter, version=2), carry=_carry_04)
SINGLE_04 = replace(FORMAT, create=partial(ZarrWriter, version=2, pyramid=False), carry=_carry_04)
