"""Spherical Texture: the numbers of ilastik's library, waves of known power, what must not change them."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from gpuseg.backends._numba.rays import SIDE, projections
from gpuseg.backends.cpu import CpuBackend
from gpuseg.objects import texture
from gpuseg.objects.context import Objects

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "texture_reference.npz")


def objects(labels, *channels):
    planes = (1,) * (3 - labels.ndim)
    raw = np.stack([np.asarray(c, np.float32).reshape(*planes, *c.shape) for c in channels])
    labels = labels.astype(np.int32).reshape(*planes, *labels.shape)
    return Objects(CpuBackend(), labels, int(labels.max()), raw)


def golden(name):
    return objects(GOLDEN[f"{name}_labels"], GOLDEN[f"{name}_image"])


def disc(lobes):
    """A disc of radius 30 whose brightness goes around it in waves."""
    y, x = np.mgrid[-35:36, -35:36]
    return (np.hypot(y, x) < 30).astype(int), 100 + 50 * np.cos(lobes * np.arctan2(y, x))


@pytest.mark.parametrize("name", ["flat", "solid"])
def test_spectra_and_directions_are_those_of_ilastiks_library(name):
    """To 5e-4 of the variance on the circle: its last ray has one more cell, as sin(2 pi) is not 0."""
    found, expected = texture.textures(golden(name))[:, 0], GOLDEN[f"{name}_numbers"]
    assert_allclose(found[:, 20:], expected[:, 20:], rtol=1e-12)
    assert_allclose(found[:, :20], expected[:, :20], rtol=0, atol=5e-4 if name == "flat" else 1e-5)


@pytest.mark.parametrize("lobes", [2, 3, 5])
def test_lobes_around_an_object_are_its_strongest_wave(lobes):
    spectrum = texture.circular_texture(objects(*disc(lobes)))[0]
    assert spectrum.argmax() == lobes
    assert spectrum[lobes] > 0.95


def test_power_on_a_circle_adds_up_to_the_variance():
    angle = np.arange(251) * 2 * np.pi / 251
    wave = 3 * np.cos(4 * angle) + np.sin(60 * angle)
    power = texture.circular_power(wave[None])[0]
    assert_allclose([power[4], power[60], power.sum()], [4.5, 0.5, 5], rtol=1e-12)


def test_power_on_a_sphere_is_that_of_the_degree():
    """Harmonics of mean square 1, of degrees 1, 2, 2, 3 and 251."""
    z = texture._latitudes()[0][:, None]
    angle = np.linspace(0, 2 * np.pi, 503, endpoint=False)
    x, y = np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle)
    z = z + 0 * angle
    highest = np.polynomial.legendre.legval(z, [0] * 251 + [np.sqrt(503)])
    waves = [np.sqrt(3) * z, np.sqrt(15) / 2 * (x**2 - y**2), np.sqrt(15) * x * z]
    waves += [np.sqrt(7) / 2 * (5 * z**3 - 3 * z), highest]
    power = texture.spherical_power(np.array(waves))
    expected = np.zeros((5, 252))
    expected[range(5), [1, 2, 2, 3, 251]] = 1
    assert_allclose(power, expected, atol=1e-9)


@pytest.mark.parametrize("name", ["flat", "solid"])
def test_only_differences_of_brightness_count(name):
    o = golden(name)
    darker = objects(GOLDEN[f"{name}_labels"], 0.5 * GOLDEN[f"{name}_image"].astype(float) - 500)
    assert_allclose(texture.textures(darker), texture.textures(o), atol=1e-5)


def test_moving_an_object_and_what_is_around_it_change_nothing():
    labels, image = disc(3)
    wide = np.pad(labels, ((7, 0), (0, 12)))
    bright = np.where(wide, np.pad(image, ((7, 0), (0, 12))), 9999)
    assert_allclose(
        texture.circular_texture(objects(wide, bright))[:, :5],
        texture.circular_texture(objects(labels, np.where(labels, image, 9999)))[:, :5],
    )


def test_channels_come_one_after_the_other():
    labels, image = disc(3)
    o = objects(labels, image, disc(5)[1])
    alone = texture.circular_texture(objects(labels, disc(5)[1]))
    assert texture.circular_texture(o).shape == (1, 40)
    assert texture.circular_direction(o).shape == (1, 2)
    assert_array_equal(texture.circular_texture(o)[:, 20:], alone)


@pytest.mark.parametrize("ndim", [2, 3])
def test_an_object_of_one_value_and_one_pixel_have_no_texture(ndim):
    labels = np.zeros((9,) * ndim, int)
    labels[(slice(1, 6),) * ndim] = 1
    labels[(7,) * ndim] = 2
    assert not texture.textures(objects(labels, np.full(labels.shape, 0.1))).any()


@pytest.mark.parametrize("ndim", [2, 3])
def test_without_objects_there_are_no_rows(ndim):
    o = objects(np.zeros((6,) * ndim, int), np.zeros((6,) * ndim))
    spectrum, direction = (
        (texture.circular_texture, texture.circular_direction)
        if ndim == 2
        else (texture.spherical_texture, texture.spherical_direction)
    )
    assert spectrum(o).shape == (0, 20)
    assert direction(o).shape == (0, ndim - 1)


def test_the_brightest_direction_is_found():
    labels, _ = disc(0)
    y, x = np.mgrid[-35:36, -35:36]
    for angle in (0.5, 2.0, 4.0):
        image = np.cos(np.arctan2(y, x) - angle)
        assert_allclose(texture.circular_direction(objects(labels, image))[0, 0], angle, atol=0.06)


def projected(labels, values, label, box, cells, starts):
    """Means along the rays of one object, step by step as SPEC 5.7 has them, rounded at the same places."""
    region = tuple(slice(low, high + 1) for low, high in box)
    mask, cut = labels[region] == label, values[region].astype(float)
    sigmas = [max(0.0, (n / SIDE - 1) / 2) for n in cut.shape]
    cut = ndimage.gaussian_filter(cut, sigmas, mode="mirror") if any(sigmas) else cut
    samples = [np.zeros(1)] if labels.shape[0] == 1 else []
    for n in cut.shape[len(samples) :]:
        at = np.abs((np.arange(SIDE) + 0.5) * n / SIDE - 0.5)
        samples.append(np.maximum(0.0, np.minimum(at, 2 * (n - 1) - at)))
    mask = mask[np.ix_(*((at + 0.5).astype(int) for at in samples))]
    for axis in (2, 1, 0):
        at = samples[axis]
        before = at.astype(int)
        share = (at - before).reshape([-1 if k == axis else 1 for k in range(3)])
        after = np.minimum(before + 1, cut.shape[axis] - 1)
        cut = (1 - share) * cut.take(before, axis) + share * cut.take(after, axis)
    flat, means = np.where(mask, cut, np.nan).ravel(), []
    for first, last in pairwise(starts):
        ray = flat[cells[first:last]]
        inside = np.logical_and.accumulate(np.append(True, ~np.isnan(ray[1:])))
        ray = ray[inside]
        total = np.add.accumulate(np.append(-1.0 if np.isnan(ray[0]) else ray[0], ray[1:]))[-1]
        means.append(total / len(ray))
    return means


@pytest.mark.parametrize(
    "shape", [(1, 60, 70), (1, 1, 30), (1, 200, 170), (1, 500, 3), (9, 20, 30), (2, 90, 4), (100, 5, 5)]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_rays_are_those_of_the_formula_bit_for_bit(shape, order):
    rng = np.random.default_rng(sum(shape))
    smooth = ndimage.gaussian_filter(rng.random(shape), [0, 2, 2] if shape[0] < 50 else 2, mode="wrap")
    labels, count = ndimage.label(smooth > np.quantile(smooth, 0.4))
    scattered = rng.random(shape) < 0.02
    labels = np.asarray(np.where(scattered, count + 1, labels), np.int32, order=order)
    values = np.asarray(rng.normal(100, 50, shape), np.float32, order=order)
    found = ndimage.find_objects(labels)
    boxes = np.array([[(s.start, s.stop - 1) for s in box] for box in found])
    cells, starts = texture._rays(2 if shape[0] == 1 else 3)
    if shape[0] > 1:  # a few of many
        cells, starts = cells[: starts[300]], starts[:301]
    which = rng.permutation(len(boxes))[:40]
    expected = [projected(labels, values, i + 1, boxes[i], cells, starts) for i in which]
    assert_array_equal(projections(labels, values, boxes, which, cells, starts), expected)


@pytest.mark.parametrize("pieces", [1, 7])
def test_how_many_objects_are_taken_at_a_time_changes_nothing(monkeypatch, pieces):
    rng = np.random.default_rng(2)
    labels = np.kron(np.arange(1, 37).reshape(6, 6), np.ones((8, 9), int))
    image = rng.random(labels.shape)
    expected = texture.textures(objects(labels, image, image[::-1]))
    monkeypatch.setitem(texture.PIECE, 2, pieces)
    monkeypatch.setitem(texture.BATCH, 2, 20)
    assert_allclose(texture.textures(objects(labels, image, image[::-1])), expected, rtol=1e-13, atol=1e-15)
