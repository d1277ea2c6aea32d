"""The command line as a process of its own: exit codes, signals, memory."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from numpy.lib.format import open_memmap

GPUSEG = [sys.executable, "-m", "gpuseg"]
PEAK = (  # of this program: what getrusage tells begins with the memory of the tests that started it
    "import re, sys; from gpuseg.cli import app; app(sys.argv[1:], standalone_mode=False);"
    "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
)
PATIENCE = 120  # seconds until a test gives up on a loaded machine


def run(*arguments):
    return subprocess.run([*GPUSEG, *arguments], capture_output=True, text=True, timeout=PATIENCE)


def empty_image(path, shape):
    """An .npy of zeros that takes no space on most disks."""
    open_memmap(path, "w+", np.uint8, shape).flush()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["predict", "cells.gpuseg", "cells.png"], 0, ""),
        (["predict", "cells.gpuseg", "cells.png", "nothere.png"], 1, "1 of 2 images failed: nothere.png"),
        (["predict", "cells.gpuseg"], 2, "Usage"),
        (["predict", "cells.gpuseg", "nothere.png"], 3, "Error: nothere.png: "),
    ],
    ids=["done", "some failed", "usage", "invalid"],
)
def test_exit_codes(here, arguments, code, message):
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_within_a_tile_and_leaves_nothing(here, number):
    empty_image("big.npy", (20_000, 20_000))
    process = subprocess.Popen(
        [*GPUSEG, "predict", "cells.gpuseg", "big.npy", "-e", "segmentation", "-o", "out.h5"],
        stderr=subprocess.PIPE,
        text=True,
    )
    give_up = time.monotonic() + PATIENCE
    while not list(here.glob("out.h5.partial*")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < give_up
        time.sleep(0.02)
    process.send_signal(number)
    message = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 130, message
    assert message.startswith("big.npy: stopped after ")
    assert not list(here.glob("out*"))


def test_an_interrupted_training_leaves_nothing(here):
    process = subprocess.Popen(
        [*GPUSEG, "train", "-i", "cells.png", "-l", "scribbles.png", "--trees", "100000", "-o", "new.gpuseg"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline().startswith("cells.png: 60 x 80")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert not list(here.glob("new*"))


def peak(*arguments):
    """Most memory that a run had at any time, in MB."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    return int(done.stdout.splitlines()[-1]) / 1024


def test_memory_does_not_grow_with_the_image(here):
    empty_image("small.npy", (4096, 4096))
    empty_image("large.npy", (12288, 4096))
    small, large = (
        peak("predict", "-q", "cells.gpuseg", f"{n}.npy", "-o", "out.npy") for n in ("small", "large")
    )
    assert large < small + 100  # the image grew by 32, its probabilities by 256


def test_all_features_of_4096_x_4096_pixels_stay_below_1500_mb(here):
    files = ["-i", "cells.png", "-l", "scribbles.png", "--trees", "5", "-o", "all.gpuseg"]
    assert run("train", *files).returncode == 0
    empty_image("big.npy", (4096, 4096))
    everything = [word for r in ("probabilities", "segmentation", "uncertainty") for word in ("-e", r)]
    assert peak("predict", "-q", "all.gpuseg", "big.npy", *everything) < 1500
