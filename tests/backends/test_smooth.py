"""One smoothed plane or volume: compiled for the CPU as for CUDA, near the reference."""

import numpy as np
import pytest

from gpuseg.backends import get_backend
from gpuseg.backends.cpu import ReferenceBackend

CASES = [
    ((5, 7), (1.0, 0.7)),
    ((3, 130), (3.0, 2.0)),
    ((200, 1), (1.0, 1.0)),
    ((70, 64), (6.0, 5.0)),
    ((40,), (2.0,)),
    ((9, 35, 41), (1.0, 2.0, 0.7)),
    ((2, 3, 300), (0.5, 1.0, 9.0)),
]


def image(shape):
    return np.random.default_rng(0).random(shape).astype(np.float32)


@pytest.mark.parametrize(("shape", "sigma"), CASES)
def test_the_cpu_smooths_as_the_reference_does(shape, sigma):
    ours, reference = (b.gaussian(image(shape), sigma) for b in (get_backend("cpu"), ReferenceBackend()))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, reference, atol=3e-7)  # sums of float32, not of float64


@pytest.mark.parametrize(("shape", "sigma"), CASES)
def test_kernels_give_the_same_bits(host_cuda, shape, sigma):
    cpu, cuda = get_backend("cpu"), get_backend("cuda")
    there = cuda.to_numpy(cuda.gaussian(cuda.asarray(image(shape)), sigma))
    np.testing.assert_array_equal(cpu.gaussian(image(shape), sigma), there)


def test_a_constant_stays_within_a_rounding_of_itself():
    flat = np.full((50, 60), 0.5, np.float32)
    np.testing.assert_allclose(get_backend("cpu").gaussian(flat, (1.0, 1.0)), 0.5, atol=1e-7)


def test_derivatives_and_other_types_go_to_the_reference():
    cpu, pixels = get_backend("cpu"), image((20, 30))
    reference = ReferenceBackend().gaussian(pixels, (1.0, 1.0), (0, 1))
    np.testing.assert_array_equal(cpu.gaussian(pixels, (1.0, 1.0), (0, 1)), reference)
    assert cpu.gaussian(pixels.astype(np.float64), (1.0, 1.0)).dtype == np.float64
