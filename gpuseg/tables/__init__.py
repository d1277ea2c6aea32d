"""Tables of objects: their columns, and their files with or without a picture of each object."""

from gpuseg.tables.columns import classified, join_tables
from gpuseg.tables.cutouts import Cutouts, CutoutSource
from gpuseg.tables.files import check_path, write_table

__all__ = ["CutoutSource", "Cutouts", "check_path", "classified", "join_tables", "write_table"]
