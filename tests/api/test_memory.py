"""How much memory a run takes does not grow with the image."""

import subprocess
import sys

import numpy as np
import pytest
from objects_scene import FEATURES, drawn, trained

GROWTH = 1.1  # at most, of the peak, where the image is 8 times as large
SIDE, BLOCK = 768, 256
PEAK = """
import resource, sys
from gpuseg import api
api.run(sys.argv[1], sys.argv[2], axes="yx", export=["object predictions", "probabilities"], backend="cpu",
        table=sys.argv[3], block=(1, {block}, {block}), output=sys.argv[2] + "_{{result_type}}.h5")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(folder, name) -> int:
    """Kilobytes, of a process of its own."""
    words = [folder / "all.gpuseg", folder / f"{name}.npy", folder / f"{name}.parquet"]
    code = PEAK.format(block=BLOCK)
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_an_image_eight_times_as_large_takes_hardly_more_memory(tmp_path):
    trained(drawn(), features=FEATURES).save(tmp_path / "all.gpuseg")
    tile = drawn((SIDE, SIDE), count=400)
    np.save(tmp_path / "small.npy", tile)
    large = np.lib.format.open_memmap(tmp_path / "large.npy", "w+", tile.dtype, (8 * SIDE, SIDE))
    for i in range(8):
        large[i * SIDE : (i + 1) * SIDE] = tile[:, :: 1 - 2 * (i % 2)]
    del large
    peak(tmp_path, "small")  # compiles what is not compiled yet, which takes memory too
    small, large = peak(tmp_path, "small"), peak(tmp_path, "large")
    assert large < GROWTH * small, f"{small} kB, {large} kB"
