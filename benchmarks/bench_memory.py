"""Peak memory of `gpuseg predict`, and that it does not grow with the image."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile

from benchmarks import images, scene
from benchmarks.bench_start import launch, predict, save_model
from benchmarks.measure import Case, Sample, Size


def measure(size: Size) -> Iterator[Case]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = save_model(folder, size)
        square = np.tile(images.mosaic(size.memory_side // 2), (2, 2))
        for task, image in (("one", square), ("two", np.tile(square, (2, 1)))):
            tifffile.imwrite(folder / f"{task}.tif", image)
            result = launch(*predict(model, folder / f"{task}.tif", folder))
            yield Case(
                "memory",
                "peak memory" if task == "one" else "peak memory, image twice as tall",
                f"{scene.shape_text(image.shape)} TIFF to HDF5, whole process",
                image.size / 1e6,
                "Mpx",
                {"gpuseg": [Sample(result["seconds"], 0.0)]},
                memory={"gpuseg": result["peak_gb"]},
            )
