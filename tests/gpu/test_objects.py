"""From pixels to classified objects on the card: as on the CPU, in one piece and in blocks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from objects_scene import drawn, load, store, trained

from gpuseg import ObjectClassifier, api

pytestmark = pytest.mark.gpu
OBJECTS = ["object predictions", "object probabilities", "object identities", "object uncertainty"]


@pytest.mark.parametrize("axes", ["yx", "zyx"])
def test_objects_are_classified_as_on_the_cpu(cuda, tmp_path, axes):
    shape, count = ((700, 900), 900) if axes == "yx" else ((40, 120, 130), 60)
    small = drawn((60, 80) if axes == "yx" else (24, 48, 52), count=16)
    pipeline = trained(small, axes)
    image = store(tmp_path / "image.npy", drawn(shape, seed=4, count=count), axes)
    how = {"axes": axes, "export": OBJECTS, "table": True}
    block = (1, 256, 256) if axes == "yx" else (32, 64, 64)
    cpu, gpu, tiled = (
        api.run(pipeline, image, output=f"{tmp_path}/{i}/{{result_type}}.npy", backend=b, block=size, **how)
        for i, (b, size) in enumerate((("cpu", None), ("cuda", None), ("cuda", block)))
    )
    for found in (gpu, tiled):
        for one, two in zip(cpu.outcomes[0].outputs, found.outcomes[0].outputs, strict=True):
            assert_allclose(load(one), load(two), atol=1e-6, err_msg=Path(one).stem)
        pd.testing.assert_frame_equal(cpu.table, found.table, rtol=1e-6, atol=1e-6)


def test_with_little_memory_the_answer_is_the_same(cuda, tmp_path):
    pipeline = trained(drawn())
    image = store(tmp_path / "image.npy", drawn((900, 1000), seed=5, count=900), "yx")
    how = {"axes": "yx", "export": OBJECTS[0], "backend": "cuda"}
    all_, little = (
        api.run(pipeline, image, output=f"{tmp_path}/{i}.npy", gpu_memory=memory, **how)
        for i, memory in enumerate((None, "20MB"))
    )
    assert_array_equal(*(load(r.outcomes[0].outputs[0]) for r in (all_, little)))


def test_one_seed_is_one_object_classifier(cuda):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(500, 40)), columns=[f"f{i}" for i in range(40)])
    labels = 1 + (table["f0"] > 0).to_numpy().astype(int) + (table["f1"] > 1).to_numpy()
    models = [ObjectClassifier(backend=b).fit(table, labels).model_ for b in ("cpu", "cuda")]
    assert models[0].hash == models[1].hash
