"""`gpuseg demo`: from scribbles to a segmentation, on an image that comes with the package."""

from importlib.resources import files
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpuseg.cli import console
from gpuseg.cli.options import Quiet

if TYPE_CHECKING:
    from gpuseg.model import PixelModel

IMAGE, SCRIBBLES, MODEL, OVERVIEW = "tissue.png", "tissue_scribbles.png", "tissue.gpuseg", "overview.png"
NAMES = ("background", "nuclei", "gland")
STORY = """
{folder}/{OVERVIEW} shows it all side by side. In the same folder:

  {IMAGE}              colon tissue, stained for a protein of its glands (brown) and for nuclei (blue)
  {SCRIBBLES}    what was painted: 1 background, 2 nuclei, 3 gland, 0 nothing
  {MODEL}           the model learned from that, in {learning:.1f} s
  tissue_*.h5             probabilities and segmentation of every pixel, in {predicting:.1f} s
  tissue_*.png            the segmentation as label values, and in colours

On your own image: paint strokes into a second image of its size, with the values 1, 2, ... for the classes
and 0 elsewhere, save it as PNG or TIFF, then

  gpuseg train --image cells.tif --labels scribbles.png -o cells.gpuseg
  gpuseg predict cells.gpuseg cells.tif more.tif -e probabilities -e segmentation"""


def demo(
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FOLDER", help="Where to put the files.")
    ] = "demo",
    quiet: Quiet = False,
) -> None:
    """Segment a stained tissue section that comes with gpuseg."""
    from gpuseg import api

    folder = Path(output)
    _unpack(folder)
    image, template = str(folder / IMAGE), "{dataset_dir}/{nickname}_{result_type}"
    start = perf_counter()
    with console.telling(quiet), console.interruptible():
        model = api.train(image, folder / SCRIBBLES, names=NAMES, output=folder / MODEL)
        learned = perf_counter()
        (done,) = api.predict(model, image, export=["probabilities", "segmentation"], output=f"{template}.h5")
        predicted = perf_counter()
        api.predict(model, image, export=["segmentation"], output=f"{template}.png")
    learning, predicting = learned - start, predicted - learned
    _overview(folder, done.outputs, model, f"{learning:.1f} s to learn, {predicting:.1f} s to predict")
    if not quiet:
        typer.echo(STORY.format(**globals(), folder=folder, learning=learning, predicting=predicting))


def _unpack(folder: Path) -> None:
    """Copy the image and its scribbles out of the package."""
    from gpuseg.io import writing

    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in (IMAGE, SCRIBBLES):
            (folder / name).write_bytes((files("gpuseg") / "data" / name).read_bytes())


def _overview(folder: Path, results: tuple[str, ...], model: "PixelModel", times: str) -> None:
    from gpuseg.cli.picture import picture

    files = [str(folder / IMAGE), str(folder / SCRIBBLES), *results]
    raw, scribbles, proba, segmentation = map(_read, files)
    painted = (scribbles > 0).sum()
    captions = [
        ("Image", f"{raw.shape[1]} x {raw.shape[0]} pixels, 3 channels"),
        ("Scribbles", f"{painted} pixels painted, {painted / scribbles.size:.0%} of the image"),
        ("Probabilities", f"{model.forest.n_features} features, {len(model.forest.roots)} trees"),
        ("Segmentation", times),
    ]
    picture(folder / OVERVIEW, raw, scribbles, proba, segmentation[..., 0], model.classes, captions)


def _read(path: str) -> Any:
    from gpuseg.io import open_image

    with open_image(path) as image:
        return image.read()
