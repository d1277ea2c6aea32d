"""The picture that `gpuseg demo` ends with: from an image and scribbles to a segmentation, side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from gpuseg.classes import LabelClass

Pixels = NDArray[np.uint8]  # (y, x, 3)
FINE = 4  # contours are drawn so many times finer than the image, then shrunk: they come out smooth
LINE = 3  # half the width of a contour, in fine pixels
PANEL = 2  # pixels of the picture for one of the image
GAP, HEAD, FOOT = 28, 92, 84
DARK, LIGHT, FADED = (18, 20, 24), (238, 240, 243), (150, 156, 166)


def picture(
    path: Path,
    raw: Pixels,
    scribbles: NDArray[Any],
    proba: NDArray[np.float32],
    segmentation: NDArray[Any],
    classes: Sequence[LabelClass],
    captions: Sequence[tuple[str, str]],
) -> None:
    """Write a PNG of four panels: image, scribbles, probabilities (y, x, n), segmentation as contours."""
    panels = [
        _enlarged(raw),
        _painted(raw, scribbles, classes),
        _mixed(proba, classes),
        _outlined(raw, segmentation, classes),
    ]
    width, height = panels[0].size
    canvas = Image.new("RGB", (len(panels) * (width + GAP) + GAP, HEAD + height + FOOT), DARK)
    draw = ImageDraw.Draw(canvas)
    for k, (panel, (title, line)) in enumerate(zip(panels, captions, strict=True)):
        left = GAP + k * (width + GAP)
        draw.text((left, 22), title, LIGHT, font=ImageFont.load_default(26))
        draw.text((left, 56), line, FADED, font=ImageFont.load_default(19))
        canvas.paste(panel, (left, HEAD))
    _legend(draw, classes, GAP, HEAD + height + 30)
    canvas.save(path, optimize=True)


def _legend(draw: ImageDraw.ImageDraw, classes: Sequence[LabelClass], left: int, top: int) -> None:
    font = ImageFont.load_default(22)
    for c in classes:
        draw.rounded_rectangle((left, top, left + 26, top + 26), 6, c.color)
        draw.text((left + 38, top + 13), c.name, LIGHT, font=font, anchor="lm")
        left += 78 + round(font.getlength(c.name))


def _size(array: NDArray[Any], factor: int) -> tuple[int, int]:
    return array.shape[1] * factor, array.shape[0] * factor


def _enlarged(pixels: Pixels, factor: int = PANEL) -> Image.Image:
    return Image.fromarray(pixels).resize(_size(pixels, factor), Image.Resampling.LANCZOS)


def _table(classes: Sequence[LabelClass]) -> Pixels:
    table = np.zeros((max(c.value for c in classes) + 1, 3), np.uint8)
    for c in classes:
        table[c.value] = c.color
    return table


def _painted(raw: Pixels, scribbles: NDArray[Any], classes: Sequence[LabelClass]) -> Image.Image:
    """Strokes in full colour on the image, which steps back."""
    pale = _enlarged((raw * 0.55 + 0.45 * 255).astype(np.uint8))
    strokes = Image.fromarray(_table(classes)[scribbles]).resize(pale.size, Image.Resampling.NEAREST)
    where = Image.fromarray(np.uint8(255) * (scribbles > 0)).resize(pale.size, Image.Resampling.NEAREST)
    pale.paste(strokes, mask=where)
    return pale


def _mixed(proba: NDArray[np.float32], classes: Sequence[LabelClass]) -> Image.Image:
    """Every pixel the mean of the class colours, weighted by their probabilities."""
    colors = np.array([c.color for c in classes], np.float32)
    return _enlarged(np.rint(proba @ colors).clip(0, 255).astype(np.uint8))


def _outlined(raw: Pixels, segmentation: NDArray[Any], classes: Sequence[LabelClass]) -> Image.Image:
    """A line wherever the class changes, in the colour of the rarer of the two classes."""
    order = sorted((c.value for c in classes), key=lambda v: -(segmentation == v).sum())
    rank = np.argsort(order)[np.searchsorted(np.sort(order), segmentation)]
    fine = np.kron(rank, np.ones((FINE, FINE), int))
    height, width = fine.shape
    around = np.pad(fine, LINE, mode="edge")
    line = np.zeros_like(fine)
    for top, left in ((0, LINE), (2 * LINE, LINE), (LINE, 0), (LINE, 2 * LINE)):
        other = around[top : top + height, left : left + width]
        np.maximum(line, np.where(other != fine, np.maximum(other, fine), 0), out=line)
    color = _table(classes)[np.array(order)[line]]
    drawn = np.where((line > 0)[..., None], color, np.asarray(_enlarged(raw, FINE)))
    return Image.fromarray(drawn).resize(_size(raw, PANEL), Image.Resampling.LANCZOS)
