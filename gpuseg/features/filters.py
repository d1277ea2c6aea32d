"""THE TABLE of pixel filters, each declared once. Every backend executes this text; none has a copy.

A filter sees the pre-smoothed image of its scale (SPEC 1.3): at most sigma 1 is left to do,
so its kernels never have more than five taps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement

from gpuseg.backends.base import Array, Backend, Sigmas
from gpuseg.backends.taps import FILTER_WINDOW, radius

Formula = Callable[[Backend, Array, Sigmas], list[Array]]
DOG_RATIO = 0.66  # second Gaussian of the difference, relative to the first
TENSOR_RATIO = 0.5  # gradient scale of the structure tensor, relative to the scale of its average


@dataclass(frozen=True, slots=True)
class Filter:
    """One row: what a person reads, what a saved model stores, how far a pixel looks."""

    title: str
    ilastik: str  # FeatureId in a project file
    group: str  # section of the feature dialog
    smallest: float  # least sigma it is offered at
    vector: bool  # one plane per filtered axis, or just one
    reach: tuple[float, ...]  # sigma of each successive pass, relative to the filter's
    formula: Formula

    def planes(self, ndim: int) -> int:
        return ndim if self.vector else 1

    def halo(self, sigma: float) -> int:
        """Pixels on each side that one output pixel depends on."""
        return sum(radius(r * sigma, FILTER_WINDOW) for r in self.reach)


FILTERS: dict[str, Filter] = {}


def pixel_filter(
    title: str,
    *,
    group: str,
    ilastik: str = "",
    smallest: float = 0.7,
    vector: bool = False,
    reach: tuple[float, ...] = (1.0,),
) -> Callable[[Formula], Formula]:
    """Declare a filter; its function's name is its id in saved models: keep it."""

    def declare(formula: Formula) -> Formula:
        FILTERS[formula.__name__] = Filter(title, ilastik, group, smallest, vector, reach, formula)
        return formula

    return declare


def _unit(ndim: int, *axes: int) -> list[int]:
    return [axes.count(a) for a in range(ndim)]


@pixel_filter("Gaussian Smoothing", group="Color/Intensity", ilastik="GaussianSmoothing", smallest=0.3)
def gaussian_smoothing(b: Backend, image: Array, sigma: Sigmas) -> list[Array]:
    """The image itself, seen at this scale."""
    return [b.gaussian(image, sigma)]


@pixel_filter("Laplacian of Gaussian", group="Edge", ilastik="LaplacianOfGaussian")
def laplacian_of_gaussian(b: Backend, image: Array, sigma: Sigmas) -> list[Array]:
    """Sum of the second derivatives: dark blobs are positive, bright blobs negative."""
    n = image.ndim
    return [sum(b.gaussian(image, sigma, _unit(n, a, a)) for a in range(n))]


@pixel_filter("Gaussian Gradient Magnitude", group="Edge", ilastik="GaussianGradientMagnitude")
def gaussian_gradient_magnitude(b: Backend, image: Array, sigma: Sigmas) -> list[Array]:
    """Length of the gradient: edges, whatever their direction."""
    n = image.ndim
    return [b.magnitude([b.gaussian(image, sigma, _unit(n, a)) for a in range(n)])]


@pixel_filter("Difference of Gaussians", group="Edge", ilastik="DifferenceOfGaussians")
def difference_of_gaussians(b: Backend, image: Array, sigma: Sigmas) -> list[Array]:
    """A band of scales: the image at this scale less the image at 0.66 of it."""
    return [b.gaussian(image, sigma) - b.gaussian(image, tuple(DOG_RATIO * s for s in sigma))]


@pixel_filter(
    "Structure Tensor Eigenvalues",
    group="Texture",
    ilastik="StructureTensorEigenvalues",
    vector=True,
    reach=(TENSOR_RATIO, 1.0),
)
def structure_tensor_eigenvalues(b: Backend, image: Array, sigma: Sigmas) -> list[Array]:
    """How much the gradient varies along and across its main direction.

    Gradient at half the scale, averaged at the scale: what released ilastik computes, where its two
    scales are swapped (SPEC 1.5).
    """
    n = image.ndim
    inner = tuple(TENSOR_RATIO * s for s in sigma)
    g = [b.gaussian(image, inner, _unit(n, a)) for a in range(n)]
    pairs = combinations_with_replacement(range(n), 2)
    return b.eigvals_sym([b.gaussian(g[i] * g[j], sigma) for i, j in pairs])


@pixel_filter(
    "Hessian of Gaussian Eigenvalues",
    group="Texture",
    ilastik="HessianOfGaussianEigenvalues",
    vector=True,
)
def hessian_of_gaussian_eigenvalues(b: Backend, image: Array, sigma: Sigmas) -> list[Array]:
    """Curvature along and across: ridges, valleys and blobs, with their sign."""
    n = image.ndim
    pairs = combinations_with_replacement(range(n), 2)
    return b.eigvals_sym([b.gaussian(image, sigma, _unit(n, *ij)) for ij in pairs])
