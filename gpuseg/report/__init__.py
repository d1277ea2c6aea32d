"""One HTML page that says what a run did: pictures, counts, doubts, settings."""

from gpuseg.report.album import Album
from gpuseg.report.page import Facts, check_report, write_report

__all__ = ["Album", "Facts", "check_report", "write_report"]
