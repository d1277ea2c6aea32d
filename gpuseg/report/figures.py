"""Pictures as a page carries them: photos as JPEG, drawings as PNG, both as text."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

INCHES, DOTS = (3.2, 2.0), 150  # of a histogram: 480 x 300 pixels, sharp in print
FEWEST, MOST = 8, 40  # bars; between them the root of the number of objects
CUT = 0.5  # per cent at either end that go into the outermost bar: outliers leave the rest visible
QUALITY = 82  # of JPEG; thin coloured lines need all of the colour, so none is thinned out (subsampling 0)


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file in memory."""

    kind: str  # "png" or "jpeg"
    data: bytes
    width: int
    height: int

    @property
    def uri(self) -> str:
        """The file as a data: URI."""
        return f"data:image/{self.kind};base64,{b64encode(self.data).decode()}"


def photo(pixels: NDArray[np.uint8]) -> Picture:
    """(y, x, 3) as JPEG: a quarter of what PNG takes for a noisy image."""
    from matplotlib.image import imsave

    stream = BytesIO()
    options = {"quality": QUALITY, "subsampling": 0}  # Pillow's "optimize" fails on noise
    imsave(stream, pixels, format="jpeg", origin="upper", pil_kwargs=options)
    return Picture("jpeg", stream.getvalue(), pixels.shape[1], pixels.shape[0])


def histogram(
    values: NDArray[Any], numbers: NDArray[np.intp], colors: Sequence[tuple[int, int, int]]
) -> Picture:
    """Distribution of a feature in each class, in per cent of the class: rare classes are seen too."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, dpi=DOTS, facecolor="white", layout="constrained")
    canvas = FigureCanvasAgg(figure)  # without pyplot: no state that others share
    axes = figure.add_subplot()
    edges = bins(values)
    for number, color in enumerate(colors):
        inside = values[numbers == number].clip(edges[0], edges[-1])
        if inside.size:
            shares = np.histogram(inside, edges)[0] * (100 / inside.size)
            fill, line = np.array(color) / 255, np.array(color) / 255 * 0.75
            axes.stairs(shares, edges, fill=True, color=(*fill, 0.35))
            axes.stairs(shares, edges, color=(*line, 1.0), linewidth=1.2)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0)
    axes.set_ylabel("% of class" if len(colors) > 1 else "% of objects", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=DOTS, metadata={"Software": None})
    width, height = canvas.get_width_height()
    return Picture("png", stream.getvalue(), width, height)


def bins(values: NDArray[Any]) -> NDArray[np.float64]:
    """Edges of bars; whole numbers fall into the middle of theirs."""
    low, high = np.percentile(values, (CUT, 100 - CUT)).tolist()
    count = min(MOST, max(FEWEST, round(len(values) ** 0.5)))
    if (values == np.rint(values)).all():
        step = max(1, ceil((ceil(high) - floor(low) + 1) / count))
        return np.arange(floor(low), ceil(high) + step + 1, step) - 0.5
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    return np.linspace(low, high, count + 1)
