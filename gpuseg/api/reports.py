"""The page about a run: what is known of it when it ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from gpuseg import __version__
from gpuseg.model import ObjectModel, Pipeline
from gpuseg.report import Album, Facts, check_report, write_report
from gpuseg.run.objects import Frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Report", "check_report"]


@dataclass(slots=True)
class Report:
    """Collects pictures and notices while images are at hand."""

    path: str
    pipeline: Pipeline
    settings: Mapping[str, Any] = field(default_factory=dict)
    read: Mapping[str, Any] = field(default_factory=dict)  # files
    notices: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    album: Album = field(init=False)

    def __post_init__(self) -> None:
        objects = self.pipeline.objects
        self.album = Album(() if objects is None else objects.classes)

    def add(self, name: str, frame: Frame, raw: Any, rows: "pd.DataFrame") -> None:
        """A time point of an image."""
        z, y, x = frame.labels.shape
        self.album.add(
            name,
            (z, y, x),
            None if raw is None else raw.read,
            lambda t, region: frame.labels.read(region),
            rows,
        )

    def write(self, table: "pd.DataFrame", title: str) -> None:
        model = self.pipeline.objects
        facts = Facts(
            title=title,
            when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            settings=self._settings(),
            provenance=self._provenance(),
            importances=None if model is None else importances(model),
            confusion=None if model is None else confusion(model),
            confusion_of="out-of-bag, of the labels it learned from",
            files=self.files,
            notices=self.notices,
        )
        write_report(self.path, facts, self.album, table)

    def _settings(self) -> dict[str, Any]:
        s = self.pipeline.segmentation
        segmentation = {} if s is None else {f"segmentation: {k}": v for k, v in s.arguments().items()}
        return dict(self.read) | dict(self.settings) | segmentation

    def _provenance(self) -> dict[str, Any]:
        stages = {"pixel classifier": self.pipeline.pixel, "object classifier": self.pipeline.objects}
        found = {"gpuseg": __version__, "model": self.pipeline.hash}
        for name, stage in stages.items():
            told = {} if stage is None else stage.provenance.get("training", {})
            known = {k: told[k] for k in ("forest", "trees", "seed", "labels", "oob_accuracy") if k in told}
            found |= {f"{name}: {k}": v for k, v in known.items()}
        return found


def importances(model: ObjectModel) -> dict[str, float] | None:
    """Weight of every column, where training told."""
    told = model.provenance.get("training", {}).get("importances")
    return None if told is None else dict(zip(model.columns, told, strict=True))


def confusion(model: ObjectModel) -> Any:
    """Out-of-bag confusion, a row for each labelled class; None where training told nothing."""
    told = model.provenance.get("training", {}).get("oob_confusion")
    return None if told is None else np.array(told)
