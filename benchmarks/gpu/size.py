"""How large the inputs are."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """The defaults are what the targets are about."""

    flat: tuple[int, ...] = (2048, 8192)  # sides of the images that every kernel is timed on
    deep: tuple[int, ...] = (256, 512)  # sides of the volumes
    side: int = 4096  # of the image of whole tasks
    cube: int = 512  # of the volume of whole tasks
    view: int = 2048  # what a person looks at while painting
    file_side: int = 8192
    labelled: int = 2000  # pixels under scribbles
    stroke: int = 100  # pixels of one more stroke
    trees: int = 100
    rounds: int = 10
    limit_mb: int = 1024  # of each array that the limits are measured with
    limit_steps: int = 16384


QUICK = Size(
    flat=(1024,), deep=(128,), side=2048, cube=192, view=1024, file_side=2048, rounds=3, limit_mb=256
)
