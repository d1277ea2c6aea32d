"""From a raw image to the class of every object and a table of them, from file to file."""

import tempfile
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import gpuseg
from benchmarks import cells, peers, scene
from benchmarks.measure import Case, Lineup, Size, clock
from gpuseg import api

CASE = "2D image to classified objects"
FORMATS = {".h5": "HDF5", ".npy": "NPY"}
SHARE = 4  # the side of the image, as a part of that of `cells`
PAINTED = 3146  # pixels
LABELLED = 60  # objects
FEATURES = ("count", "mean", "variance", "minimum", "maximum", "eccentricity", "solidity", "perimeter")
PROPERTIES = (
    *("area", "intensity_mean", "intensity_std", "intensity_min", "intensity_max"),
    *("eccentricity", "solidity", "perimeter"),
)
SEGMENT = {"channel": 1, "threshold": 0.5, "sigma": 1.0, "min_size": 10}


def measure(size: Size) -> Iterator[Case]:
    made = cells.flat(size.object_side).cut(max(size.object_side // SHARE, 128))
    raw = np.rint(made.image).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        task = Task(raw, made.labels, Path(folder), size.trees)
        lineup = Lineup(size)
        lineup.add("gpuseg", clock(task.one_pass), task.told)
        lineup.add("gpuseg, four verbs", clock(task.four_verbs), task.same)
        lineup.add(
            "scikit-image + scikit-learn", clock(task.peers()), lambda: "24 planes, 8 properties of its own"
        )
        yield lineup.race(
            "pipeline",
            CASE,
            task.data,
            raw.size / 1e6,
            "Mpx",
        )


class Task:
    """The same in one pass, verb by verb, and with other libraries."""

    def __init__(
        self, raw: NDArray[np.uint8], labels: NDArray[np.int32], folder: Path, trees: int, suffix: str = ".h5"
    ) -> None:
        self._raw, self._folder, self._trees, self._suffix = raw, folder, trees, suffix
        self._image = folder / "raw.npy"
        np.save(self._image, raw)
        rng = np.random.default_rng(0)
        self._strokes = np.where(labels > 0, 2, 1) * (rng.random(raw.shape) < PAINTED / raw.size)
        pixel = gpuseg.PixelClassifier(axes="yx", n_estimators=trees).fit(raw, self._strokes)
        table = self._table(gpuseg.segment(pixel.predict_proba(raw), axes="yxc", **SEGMENT))
        self.count = len(table)
        self._classes = self._kinds(table["Size in pixels"].to_numpy())
        objects = gpuseg.ObjectClassifier(n_estimators=trees).fit(table, self._classes)
        self._pipeline = gpuseg.Pipeline(pixel, SEGMENT, objects)

    def _table(self, labels: Any) -> Any:
        return gpuseg.measure(labels, self._raw, raw_axes="yx", features=FEATURES)

    def _kinds(self, sizes: NDArray[Any]) -> NDArray[np.int64]:
        """Of a few objects whether they are large; 0 for the others."""
        kinds = 1 + (sizes > np.median(sizes)).astype(np.int64)
        kinds[LABELLED:] = 0
        return kinds

    def one_pass(self, backend: str = "cpu", name: str = "one") -> None:
        api.run(
            self._pipeline,
            self._image,
            axes="yx",
            export="object predictions",
            output=self._path(name),
            table=self._folder / f"{name}.csv",
            backend=backend,
        )

    def four_verbs(self, backend: str = "cpu") -> None:
        proba, labels = self._path("p"), self._path("l")
        api.predict(self._pipeline.pixel, self._image, axes="yx", output=proba, backend=backend)
        api.segment(proba, axes="yxc", output=labels, backend=backend, **SEGMENT)
        api.classify(
            gpuseg.Pipeline(objects=self._pipeline.objects),
            raw=self._image,
            raw_axes="yx",
            labels=labels,
            export="object predictions",
            output=self._path("four"),
            table=self._folder / "four.csv",
            backend=backend,
        )

    @property
    def data(self) -> str:
        """What is processed, in words."""
        return (
            f"{scene.shape_text(self._raw.shape)} uint8, 49 planes, {self._trees} trees,"
            f" {self.count:,} objects, {len(FEATURES)} features, {FORMATS[self._suffix]} and CSV written"
        )

    def told(self) -> str:
        return f"{self.count:,} objects"

    def same(self, name: str = "four", as_: str = "one") -> str:
        """Both ways classify every pixel alike."""
        one, two = (self._read(n) for n in (name, as_))
        if not np.array_equal(one, two):
            raise AssertionError(f"{np.count_nonzero(one != two)} pixels differ")
        return "the same classes"

    def _path(self, name: str) -> str:
        return str(self._folder / f"{name}{self._suffix}")

    def _read(self, name: str) -> NDArray[Any]:
        with gpuseg.open_image(self._path(name)) as image:
            return image.read()

    def peers(self) -> Any:
        """scikit-image's planes, labels and properties; scikit-learn's forests."""
        ensemble: Any = import_module("sklearn.ensemble")
        grow = partial(ensemble.RandomForestClassifier, self._trees, random_state=0, n_jobs=-1)
        unit = self._raw / np.float32(255)
        planes, painted = peers.skimage_planes(unit), self._strokes > 0
        pixel = grow().fit(planes[painted], self._strokes[painted])
        rows, _ = self._measured(pixel, unit)
        kinds = self._kinds(rows[:, 0])
        chosen = kinds > 0
        objects = grow().fit(rows[chosen], kinds[chosen])

        def run() -> None:
            import h5py
            import pandas as pd

            raw = np.load(self._image)
            found, labels = self._measured(pixel, raw / np.float32(255))
            classes = np.r_[0, objects.predict(found)].astype(np.uint8)
            with h5py.File(self._folder / "other.h5", "w") as file:
                file.create_dataset(
                    "exported_data", data=classes[labels], compression="gzip", compression_opts=1
                )
            pd.DataFrame(found, columns=PROPERTIES).to_csv(self._folder / "other.csv")

        return run

    def _measured(self, pixel: Any, unit: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """A row for each object, and the labels."""
        regions: Any = import_module("skimage.measure")
        morphology: Any = import_module("skimage.morphology")
        planes = peers.skimage_planes(unit)
        proba = pixel.predict_proba(planes.reshape(-1, planes.shape[-1]))[:, 1].reshape(unit.shape)
        mask = ndimage.gaussian_filter(proba, SEGMENT["sigma"], truncate=2) >= SEGMENT["threshold"]
        labels = regions.label(
            morphology.remove_small_objects(mask, max_size=SEGMENT["min_size"] - 1), connectivity=1
        )
        table = regions.regionprops_table(labels, self._raw, properties=PROPERTIES)
        return np.column_stack([table[p] for p in PROPERTIES]), labels
