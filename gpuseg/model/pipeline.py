"""What users have trained, together: pixel classifier, segmentation, object classifier; each optional."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from gpuseg.errors import InputError, ModelError
from gpuseg.model import files
from gpuseg.model.objects import KIND as OBJECTS
from gpuseg.model.objects import ObjectModel
from gpuseg.model.pixel import KIND as PIXEL
from gpuseg.model.pixel import PixelModel
from gpuseg.objects.settings import Settings

KIND = "pipeline"


@dataclass(frozen=True, slots=True, eq=False)
class Pipeline:
    """From raw images to classified objects, in one `.gpuseg` file.

    pixel : what makes probabilities, a `PixelModel` or a fitted `PixelClassifier`.
    segmentation : what makes objects of them: a dictionary of the settings of `gpuseg.segment`.
    objects : what classifies these, an `ObjectModel` or a fitted `ObjectClassifier`.

    `load` also takes files that hold a pixel classifier or an object classifier alone.
    InputError where a stage is missing between two others, or does not fit the one before.

    >>> image, scribbles = np.zeros((40, 40)), np.zeros((40, 40), int)
    >>> image[:, 20:], scribbles[5, :20], scribbles[5, 20:] = 9, 1, 2
    >>> pixel = gpuseg.PixelClassifier(n_estimators=5).fit(image, scribbles)
    >>> Pipeline(pixel, {"channel": 1, "threshold": 0.6}).save("nuclei.gpuseg")
    >>> Pipeline.load("nuclei.gpuseg").segmentation.threshold
    0.6
    """

    pixel: PixelModel | None = None
    segmentation: Settings | None = None
    objects: ObjectModel | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("pixel", "objects"):  # of a fitted estimator, its model
            stage = getattr(self, name)
            object.__setattr__(self, name, getattr(stage, "model_", stage))
        if isinstance(self.segmentation, Mapping):
            object.__setattr__(self, "segmentation", Settings.of(**self.segmentation))
        pixel, s = self.pixel, self.segmentation
        if pixel is not None and s is None and self.objects is not None:
            raise InputError(
                "a pipeline of a pixel and an object classifier needs the segmentation between them",
                hint="segmentation={'channel': 1} takes the second class for objects",
            )
        if pixel is not None and s is not None:
            s.channels(len(pixel.classes))

    @property
    def hash(self) -> str:
        """SHA-256 of all that decides a result."""
        facts = {
            "pixel": self.pixel and self.pixel.hash,
            "segmentation": self.segmentation and self.segmentation.arguments(),
            "objects": self.objects and self.objects.hash,
        }
        return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def save(self, path: Path | str) -> None:
        """Write a `.gpuseg` file: whole under that name, or not at all. ResourceError if it cannot be."""
        header = {
            "spec": files.SPEC,
            "kind": KIND,
            "pixel": self.pixel and self.pixel.header(),
            "segmentation": self.segmentation and self.segmentation.arguments(),
            "objects": self.objects and self.objects.header(),
            "provenance": self.provenance,
        }
        stages = {"pixel/": self.pixel, "objects/": self.objects}
        forests = {prefix: s.forest for prefix, s in stages.items() if s is not None}
        files.write_model(path, header, forests)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a `.gpuseg` file. FileError if there is none; ModelError, naming it, if it is damaged."""
        try:
            header, arrays = files.read_model(path)
            if header["kind"] == PIXEL:
                return cls(pixel=PixelModel.from_header(header, arrays))
            if header["kind"] == OBJECTS:
                return cls(objects=ObjectModel.from_header(header, arrays))
            return cls._from_header(header, arrays)
        except ModelError as e:
            raise e.at(str(path)) from e

    @classmethod
    def _from_header(cls, header: Mapping[str, Any], arrays: files.Arrays) -> Self:
        there = {k: h for k in ("pixel", "segmentation", "objects") if (h := header.get(k)) is not None}
        for name in there:
            files.take(header, name, dict)
        try:
            return cls(
                PixelModel.from_header(there["pixel"], arrays, "pixel/") if "pixel" in there else None,
                _settings(there["segmentation"]) if "segmentation" in there else None,
                ObjectModel.from_header(there["objects"], arrays, "objects/") if "objects" in there else None,
                files.take(header, "provenance", dict),
            )
        except ModelError:
            raise
        except InputError as e:
            raise ModelError(e.problem, hint=e.hint) from e


def _settings(stored: Mapping[str, Any]) -> Settings:
    """Settings as they were stored, checked as those that users give."""
    try:
        return Settings.of(**stored)
    except TypeError as e:
        raise ModelError(f"its segmentation has a setting that this gpuseg does not know: {e}") from e
