"""Pixel features against closed forms, stored exact values, and the arrays of fastfilters and vigra.

How close float32 can come: one operation rounds by EPS = 6e-8 of the value, so a smoothed pixel of 255 is
uncertain by a few 1.5e-5, and so is whatever is made of it by subtraction, however small that is. Bounds are
therefore multiples of EPS times the largest pixel; for the structure tensor, whose entries are products of
two gradients with that uncertainty, times the largest pixel and the largest gradient. fastfilters itself is
up to 6e-5 (4 EPS) away from exact smoothing and 1.5e-3 from exact tensors of 6,750: no implementation can
agree with it more closely than that.
"""

import runpy
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from gpuseg.backends import get_backend, taps
from gpuseg.backends.cpu import CpuBackend
from gpuseg.features.filters import FILTERS
from gpuseg.features.selection import Selection, presmooth
from gpuseg.features.stack import feature_stack, formulas, whole

EPS = 2.0**-24
ROUNDINGS = {  # of the largest pixel that a value of each filter may have gathered; taps sum up to 4 per axis
    "gaussian_smoothing": 10,
    "laplacian_of_gaussian": 18,
    "gaussian_gradient_magnitude": 10,
    "difference_of_gaussians": 10,
    "structure_tensor_eigenvalues": 10,
    "hessian_of_gaussian_eigenvalues": 12,
}
TENSOR = "structure_tensor_eigenvalues"
MADE = runpy.run_path(str(Path(__file__).with_name("make_features.py")))
Planes = NDArray[Any]


def by_formula(image: Planes, selection: Selection) -> Planes:
    return formulas(get_backend("cpu"), image, selection.jobs(*image.shape[:2]), whole(image))


def by_stack(image: Planes, selection: Selection) -> Planes:
    return feature_stack(get_backend("cpu"), image, selection)


PATHS = pytest.mark.parametrize("compute", [by_formula, by_stack])


def owners(selection: Selection, depth: int) -> list[str]:
    """Filter of each plane."""
    ndim = 2 if depth == 1 else 3
    return [f for f, _ in selection.cells for _ in range(FILTERS[f].planes(ndim))]


def bound(name: str, image_max: float, largest: float) -> float:
    """Largest difference that rounding explains. largest: value of the filter's first plane."""
    one = ROUNDINGS[name] * EPS * image_max
    return float(one * (np.sqrt(abs(largest)) + one) if name == TENSOR else one)


def bounds(selection: Selection, depth: int, image_max: float, largest: Planes) -> list[float]:
    """`bound` of every plane. largest: value of each of them."""
    found: list[float] = []
    for f, _ in selection.cells:
        found += [bound(f, image_max, largest[len(found)])] * FILTERS[f].planes(2 if depth == 1 else 3)
    return found


@pytest.mark.parametrize(
    ("order", "sigma", "window", "expected"),
    [
        (0, 1.0, 2, [0.402620, 0.244201, 0.054489]),
        (1, 1.0, 2, [0, 0.264198, 0.117901]),
        (2, 1.0, 2, [-0.531124, 0.020749, 0.244813]),
        (0, 0.7, 2, [0.581093, 0.209454]),
        (1, 0.7, 2, [0, 0.5]),
        (1, 0.5, 2, [0, 0.5]),
        (2, 0.7, 2, [-2, 1]),
        (0, 0.66, 2, [0.611755, 0.194123]),
        (0, 0.66 * 0.7, 2, [0.838808, 0.080596]),
        (0, 0.5, 2, [0.786986, 0.106507]),
        (0, 0.35, 2, [0.967343, 0.016329]),
        (0, 0.3, 2, [0.992328, 0.003836]),
        (0, 0.3, 3.5, [0.992328, 0.003836]),
        (0, 0.7, 3.5, [0.569912, 0.205424, 0.009620]),
        (0, 1.0, 3.5, [0.398943, 0.241971, 0.053991, 0.004432, 0.000134]),
        (0, presmooth(1.6), 3.5, [0.319479, 0.231870, 0.088645, 0.017851, 0.001894]),
        (0, presmooth(3.5), 3.5, [0.118963, 0.113792, 0.099588, 0.079744, 0.058423, 0.039162]),
        (0, presmooth(5.0), 3.5, [0.081462, 0.079782, 0.074949]),
        (0, presmooth(10.0), 3.5, [0.040110, 0.039907, 0.039307]),
    ],
)
def test_taps_are_those_of_the_table(order: int, sigma: float, window: float, expected: list[float]) -> None:
    found = taps.half(sigma, order, window)
    radius = {presmooth(3.5): 12, presmooth(5.0): 17, presmooth(10.0): 35}.get(sigma, len(expected) - 1)
    assert len(found) == radius + 1
    assert_allclose(found[: len(expected)], expected, atol=6e-7)  # the table has six decimals


@PATHS
@pytest.mark.parametrize("kind", ["2d", "3d"])
def test_features_have_the_stored_values(compute: Callable[..., Planes], kind: str) -> None:
    image = MADE["picture"]() if kind == "2d" else MADE["volume"]()
    selection = Selection.all(dict(zip("czyx", image.shape, strict=True)))
    with np.load(MADE["FILE"]) as stored:
        where, expected, largest = (stored[f"{n}_{kind}"] for n in ("where", "values", "largest"))

    found = compute(image, selection)[(slice(None), *where.T)]

    assert found.dtype == np.float32
    limits = bounds(selection, image.shape[1], image.max(), largest)
    for name, a, e, limit in zip(selection.names(*image.shape[:2]), found, expected, limits, strict=True):
        assert_allclose(a, e, rtol=EPS, atol=limit, err_msg=name)


def test_stored_values_are_what_the_script_makes() -> None:
    image = MADE["picture"]()
    selection = Selection.all(dict(zip("czyx", image.shape, strict=True)))
    with np.load(MADE["FILE"]) as stored:
        found = MADE["exact"](image, selection)[(slice(None), *stored["where_2d"].T)]
        assert_allclose(found, stored["values_2d"], rtol=1e-6, atol=1e-9)


def small(ndim: int) -> Selection:
    """All cells in 2D, in 3D those up to sigma 3.5: the halo of the others is larger than a quick volume."""
    return Selection.all({"c": 1, "z": 1 if ndim == 2 else 16, "y": 90, "x": 90})


def middle(
    compute: Callable[..., Planes], function: Callable[..., Planes], ndim: int
) -> dict[tuple[str, int], Planes]:
    """Values by (filter, scale) at pixel 0 of an image `function(z, y, x)` that ends beyond every halo."""
    selection, reach = small(ndim), 40 if ndim == 2 else 16
    side = np.arange(-reach, reach + 1)
    image = function(*np.meshgrid(side if ndim == 3 else [0], side, side, indexing="ij"))
    values = compute(image.astype(np.float32)[None], selection)
    values = values[:, reach if ndim == 3 else 0, reach, reach]
    ends = np.cumsum([FILTERS[f].planes(ndim) for f, _ in selection.cells])
    return dict(zip(selection.cells, np.split(values, ends[:-1]), strict=True))


def check(
    found: dict[tuple[str, int], Planes], expected: Callable[[str, int], Any], image_max: float
) -> None:
    for (name, scale), values in found.items():
        wanted = np.zeros(len(values)) + expected(name, scale)
        limit = bound(name, image_max, wanted[0])
        assert_allclose(values, wanted, rtol=EPS, atol=limit, err_msg=f"{name}, scale {scale}")


@PATHS
@pytest.mark.parametrize("ndim", [2, 3])
def test_a_constant_has_only_itself(compute: Callable[..., Planes], ndim: int) -> None:
    found = middle(compute, lambda z, y, x: 200.0 + 0 * (z + y + x), ndim)
    check(found, lambda name, _: 200 if name == "gaussian_smoothing" else 0, 200)


@PATHS
@pytest.mark.parametrize("ndim", [2, 3])
def test_a_ramp_has_its_slope(compute: Callable[..., Planes], ndim: int) -> None:
    slopes = np.array([1.0, -0.5, 0.75])
    square = (slopes[-ndim:] ** 2).sum()
    expected = {"gaussian_smoothing": 90, "gaussian_gradient_magnitude": square**0.5}
    expected[TENSOR] = np.eye(ndim)[0] * square

    found = middle(compute, lambda z, y, x: 90 + slopes[0] * z + slopes[1] * y + slopes[2] * x, ndim)

    check(found, lambda name, _: expected.get(name, 0), 150)


@PATHS
@pytest.mark.parametrize("ndim", [2, 3])
def test_a_parabola_has_its_curvature(compute: Callable[..., Planes], ndim: int) -> None:
    curvature = np.array([[0.05, 0.02, -0.03], [0.02, -0.08, 0.06], [-0.03, 0.06, 0.03]])[-ndim:, -ndim:]

    def parabola(*zyx: Planes) -> Planes:
        r = np.stack(zyx[-ndim:])
        return 100 + np.einsum("i...,ij,j...->...", r, curvature, r) / 2

    expected = {
        "laplacian_of_gaussian": np.trace(curvature),
        "gaussian_gradient_magnitude": 0,
        "hessian_of_gaussian_eigenvalues": np.linalg.eigvalsh(curvature)[::-1],
    }
    found = middle(compute, parabola, ndim)
    check({k: v for k, v in found.items() if k[0] in expected}, lambda name, _: expected[name], 255)


def response(omega: Planes, sigma: float, orders: tuple[int, ...], window: float = 2.0) -> float:
    """What a separable filter does to the amplitude of a plane wave of angular frequencies `omega`."""
    answer = 1.0
    for w, order in zip(omega, orders, strict=True):
        k = taps.half(sigma, order, window).astype(np.float64)
        i = np.arange(1, len(k))
        answer *= (
            2 * (k[1:] * np.sin(i * w)).sum() if order == 1 else k[0] + 2 * (k[1:] * np.cos(i * w)).sum()
        )
    return answer


def wave_features(omega: Planes, phase: float, amplitude: float, sigma: float) -> dict[str, Any]:
    """Every filter's answer at pixel 0 of 100 + amplitude * sin(omega r + phase), in closed form."""
    d, n = len(omega), min(sigma, 1.0)
    unit = np.eye(d, dtype=int)
    amplitude *= response(omega, presmooth(sigma), (0,) * d, 3.5)
    flat, half = response(omega, n, (0,) * d), response(omega, 0.66 * n, (0,) * d)
    first = np.array([response(omega, n, tuple(u)) for u in unit])
    hessian = np.array([[response(omega, n, tuple(u + v)) for u in unit] for v in unit])
    hessian[~np.eye(d, dtype=bool)] *= -1  # the derivative of a cosine is minus a sine
    hessian *= amplitude * np.sin(phase)
    gradient = amplitude * np.array([response(omega, 0.5 * n, tuple(u)) for u in unit])
    squared_cosine = (1 + response(2 * omega, n, (0,) * d) * np.cos(2 * phase)) / 2
    return {
        "gaussian_smoothing": 100 + amplitude * flat * np.sin(phase),
        "laplacian_of_gaussian": np.trace(hessian),
        "gaussian_gradient_magnitude": abs(amplitude) * np.linalg.norm(first) * abs(np.cos(phase)),
        "difference_of_gaussians": amplitude * (flat - half) * np.sin(phase),
        TENSOR: np.eye(d)[0] * (gradient @ gradient) * squared_cosine,  # one direction: rank one
        "hessian_of_gaussian_eigenvalues": np.linalg.eigvalsh(hessian)[::-1],
    }


@PATHS
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("degrees", [0, 20, 45, 110])
def test_a_wave_in_any_direction_has_its_transfer_function(
    compute: Callable[..., Planes], ndim: int, degrees: float
) -> None:
    turn, phase = np.radians(degrees), 0.6
    omega = 0.7 * np.array([0.4, np.sin(turn), np.cos(turn)])

    found = middle(
        compute, lambda z, y, x: 100 + 80 * np.sin(omega[0] * z + omega[1] * y + omega[2] * x + phase), ndim
    )

    scales = [s.sigma for s in small(ndim).scales]
    check(found, lambda name, i: wave_features(omega[-ndim:], phase, 80, scales[i])[name], 180)


def textbook_tensor(b: Any, image: Planes, sigma: tuple[float, ...]) -> list[Planes]:
    """The structure tensor as vigra has it: gradient at the scale, averaged at half of it (SPEC 1.5)."""
    n, outer = image.ndim, tuple(0.5 * s for s in sigma)
    g = [b.gaussian(image, sigma, [int(a == i) for i in range(n)]) for a in range(n)]
    pairs = combinations_with_replacement(range(n), 2)
    return list(b.eigvals_sym([b.gaussian(g[i] * g[j], outer) for i, j in pairs]))


def recipe(names: Planes, flat: bool) -> Selection:
    """The selection of a reference file, from its names like "GaussianSmoothing 0.3"."""
    ids = {row.ilastik: name for name, row in FILTERS.items() if row.ilastik}
    rows: dict[str, list[float]] = {}
    for name in names.tolist():
        kind, sigma = name.split()[:2]
        rows.setdefault(ids[kind], []).append(float(sigma))
    return Selection.table({f: sorted(set(s)) for f, s in rows.items()}, in_2d=flat)


RECIPES = [
    (by_formula, "recipe2d", "img", "ff"),
    (by_stack, "recipe2d", "img", "ff"),
    (by_stack, "recipe2d_vigra", "img_small", "ff"),
    (by_formula, "recipe2d_vigra", "img_small", "vigra"),
]


@pytest.mark.parametrize(("compute", "file", "image", "library"), RECIPES)
def test_2d_features_are_those_of_the_libraries(
    compute: Callable[..., Planes], file: str, image: str, library: str, shared: Path, monkeypatch: Any
) -> None:
    selection = recipe(np.load(shared / "reference/recipe2d.npz")["names"], flat=True)
    if library == "vigra":
        monkeypatch.setitem(FILTERS, TENSOR, replace(FILTERS[TENSOR], formula=textbook_tensor))
    with np.load(shared / f"reference/{file}.npz") as reference:
        pixels, expected = reference[image][None, None], reference[library][:, None]

    found = compute(pixels, selection)

    largest = abs(expected).max((1, 2, 3))
    limits = bounds(selection, 1, pixels.max(), largest)
    for name, a, e, limit in zip(selection.names(1, 1), found, expected, limits, strict=True):
        assert_allclose(a, e, rtol=0, atol=limit, err_msg=name)


@PATHS
def test_3d_features_are_fastfilters_but_for_its_eigenvalues(
    compute: Callable[..., Planes], shared: Path
) -> None:
    """fastfilters solves 3 x 3 matrices by a formula in float32: up to 0.015 off where the largest is 454."""
    with np.load(shared / "reference/recipe3d.npz") as reference:
        selection = recipe(reference["names"], flat=False)
        pixels, theirs = reference["vol"][None], reference["ff"]
    exact = MADE["exact"](pixels, selection)

    ours = compute(pixels, selection)

    limits = bounds(selection, 2, pixels.max(), abs(exact).max((1, 2, 3)))
    for i, (name, owner) in enumerate(zip(selection.names(1, 2), owners(selection, 2), strict=True)):
        assert_allclose(ours[i], exact[i], rtol=0, atol=limits[i], err_msg=name)
        cost = {TENSOR: 0.016, "hessian_of_gaussian_eigenvalues": 7e-4}.get(owner, limits[i])
        assert_allclose(ours[i], theirs[i], rtol=0, atol=cost, err_msg=name)
    tensor = [i for i, owner in enumerate(owners(selection, 2)) if owner == TENSOR]
    assert abs(theirs - exact)[tensor].max() > 0.01 > 50 * abs(ours - exact)[tensor].max()


class Wide(CpuBackend):
    """Kernels that end at 3.5 sigma."""

    def gaussian(self, image: Any, sigma: Any, order: Any = (), window: float = 3.5) -> Any:
        return super().gaussian(image, sigma, order, window)


FILTER_CALLS = {
    "gaussianSmoothing": "gaussian_smoothing",
    "laplacianOfGaussian": "laplacian_of_gaussian",
    "gaussianGradientMagnitude": "gaussian_gradient_magnitude",
    "structureTensorEigenvalues_call(s,s/2)": TENSOR,
    "hessianOfGaussianEigenvalues": "hessian_of_gaussian_eigenvalues",
}


@pytest.mark.parametrize("library", ["ff", "vigra"])
@pytest.mark.parametrize("sigma", [1.0, 3.5])
@pytest.mark.parametrize("call", FILTER_CALLS)
def test_filters_alone_are_those_of_the_libraries(
    call: str, sigma: float, library: str, shared: Path
) -> None:
    """Other kernels than ilastik's, to tell the formulas from the one window they are used with."""
    name = FILTER_CALLS[call]
    formula = textbook_tensor if (name, library) == (TENSOR, "vigra") else FILTERS[name].formula
    with np.load(shared / "reference/filters2d.npz") as reference:
        image, expected = reference["img_small"], reference[f"{library}/w3.5/{call}/{sigma}"]

    found = np.stack(formula(Wide(), image, (sigma, sigma)), axis=-1).reshape(expected.shape)

    assert_allclose(found, expected, rtol=0, atol=bound(name, image.max(), abs(expected).max()))


@pytest.mark.parametrize("library", ["ff", "vigra"])
def test_kernels_are_the_impulse_responses_of_the_libraries(library: str, shared: Path) -> None:
    with np.load(shared / "reference/kernels.npz") as reference:
        keys = [k for k in reference.files if k.startswith(f"{library}/") and "/0.0/" not in k]
        assert len(keys) > 50
        for key in keys:
            _, window, order, sigma = key.split("/")
            right = taps.half(float(sigma), int(order[0]), float(window))
            line = np.zeros(101)
            line[51 - len(right) : 50 + len(right)] = np.concatenate([right[:0:-1], right])
            assert_allclose(reference[key], line, rtol=1.2e-7, atol=1.2e-7, err_msg=key)
