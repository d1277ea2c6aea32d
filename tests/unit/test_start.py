"""Starting costs next to nothing: what an import loads, and how long it takes."""

import subprocess
import sys
from time import perf_counter

import numpy as np
import pytest

from gpuseg import PixelClassifier

HEAVY = [
    *("numba", "sklearn", "scipy", "pandas", "h5py", "tifffile", "zarr"),
    *("PIL", "imagecodecs", "safetensors", "cupy"),
]
START = 0.2  # seconds for `import gpuseg`, less what Python itself takes
HELP = 0.4  # seconds for `gpuseg --help`, less what Python itself takes
PATIENCE = 5  # a loaded test machine may be that much slower; the benchmarks measure the real figure


def loaded(code: str) -> set[str]:
    """Modules that a fresh Python has loaded after running `code`."""
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def seconds(*arguments: str) -> float:
    """The fastest of three runs of Python with `arguments`, less that of an empty one."""

    def fastest(arguments: tuple[str, ...]) -> float:
        times = []
        for _ in range(3):
            start = perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            times.append(perf_counter() - start)
        return min(times)

    return fastest(arguments) - fastest(("-c", ""))


def test_importing_gpuseg_loads_no_other_package():
    assert loaded("import gpuseg") & {*HEAVY, "numpy", "typer", "rich"} == set()


@pytest.mark.parametrize("module", ["gpuseg.cli", "gpuseg.api"])
def test_the_command_line_loads_no_heavy_package_before_it_is_used(module):
    assert loaded(f"import {module}") & set(HEAVY) == set()


def test_predicting_loads_neither_scikit_learn_nor_scipy(tmp_path):
    """Their import takes longer than a small image; the model holds all that prediction needs."""
    image, scribbles = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    image[:, 20:], scribbles[5, :20], scribbles[5, 20:] = 9, 1, 2
    np.save(tmp_path / "image.npy", image)
    PixelClassifier(n_estimators=5).fit(image, scribbles).save(tmp_path / "model.gpuseg")
    words = [
        "gpuseg",
        "predict",
        f"{tmp_path}/model.gpuseg",
        f"{tmp_path}/image.npy",
        "-o",
        f"{tmp_path}/out.npy",
    ]
    code = (
        f"import sys; sys.argv = {words}\nfrom gpuseg.cli import main\ntry: main()\nexcept SystemExit: pass"
    )
    modules = loaded(code)
    assert (tmp_path / "out.npy").is_file()
    assert modules & {"sklearn", "joblib", "h5py", "tifffile", "zarr", "PIL", "rich"} == set()
    assert modules & {"scipy.ndimage", "scipy.sparse"} == set()  # Numba itself imports scipy.linalg


def test_gpuseg_is_imported_in_a_moment():
    assert seconds("-c", "import gpuseg") < START * PATIENCE


def test_help_appears_in_a_moment():
    help_text = "import sys; sys.argv = ['gpuseg', '--help']; from gpuseg.cli import main; main()"
    assert seconds("-c", help_text) < HELP * PATIENCE
