"""Writes images until it is killed, again and again; run by test_write_protocol.py.

python killed_writer.py FOLDER SUFFIX KILLS [FORM]
"""

import os
import random
import signal
import sys
import time
from itertools import count
from pathlib import Path

import numpy as np

from gpuseg.io import Output, create_image

FLAT = ("tiff", "jpeg", "bmp", "gif")


def write(path: Path, form: str | None) -> None:
    shape = (
        (500, 100) if (path.suffix == ".png" and form != "png sequence") or form in FLAT else (4, 100, 100)
    )
    pixels = (np.random.default_rng(0).random(shape) * 200).astype("u1" if form else "u2")
    with create_image(path, Output(pixels.shape, pixels.dtype, "zyx"[-pixels.ndim :]), form) as writer:
        for y in range(0, shape[-2], 20):
            region = (*(slice(0, n) for n in shape[:-2]), slice(y, y + 20), slice(0, 100))
            writer.write(region, pixels[region])


def main(folder: Path, suffix: str, kills: int, form: str | None = None) -> None:
    (folder / "warm").mkdir()
    write(folder / "warm" / f"a{suffix}", form)  # imports happen before the first fork
    start = time.perf_counter()
    write(folder / "warm" / f"b{suffix}", form)
    once = time.perf_counter() - start
    chance = random.Random(7)
    hits = 0
    for i in range(20 * kills):
        (folder / str(i)).mkdir()
        if (child := os.fork()) == 0:
            for name in count():
                write(folder / str(i) / f"{name}{suffix}", form)
        last = f"{i % 3}{suffix}".replace("{slice_index}", "0003")
        done = folder / str(i) / last  # some images are let through first
        while not done.exists() and not os.waitpid(child, os.WNOHANG)[0]:
            time.sleep(once / 20)
        time.sleep(once * chance.random())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        hits += any(".partial-" in f.name for f in (folder / str(i)).iterdir())
        if hits == kills:
            return
    raise SystemExit(f"only {hits} of {20 * kills} kills came while a file was being written")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
