"""How far the work on one image is, over stages of different kinds; and where it is told to stop."""

from collections.abc import Callable
from threading import Event

from gpuseg.errors import Cancelled

Progress = Callable[[int, int], None]  # (parts done, parts in all)
PARTS = 100  # of one stage


class Steps:
    """Counts the stages of every time point."""

    def __init__(
        self, name: str, progress: Progress | None = None, cancel: Event | None = None, stages: int = 1
    ) -> None:
        self.name, self.cancel = name, cancel
        self._progress, self._total = progress, stages * PARTS
        self._begun = 0  # stages
        self._done, self._of = 0, 1  # within the stage
        self._told = 0

    def plan(self, stages: int) -> None:
        """There are so many stages in all."""
        self._total = stages * PARTS

    def stage(self, of: int) -> None:
        """The next stage begins; it takes about so many steps."""
        self._begun, self._done, self._of = self._begun + 1, 0, max(1, of)

    def grow(self, of: int) -> None:
        """The stage takes so many steps after all."""
        self._done, self._of = 0, max(1, of)

    def step(self) -> None:
        """Another step begins. Raises Cancelled if somebody asked for it."""
        self._tell(self._done)
        self._done += 1

    def reach(self, done: int, total: int) -> None:
        """So much of the stage is done."""
        self._of = max(1, total)
        self._tell(done)

    def finish(self) -> None:
        if self._progress is not None:
            self._progress(self._total, self._total)

    def _tell(self, done: int) -> None:
        parts = (self._begun - 1) * PARTS + min(PARTS - 1, PARTS * done // self._of)
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled(
                f"{self.name}: stopped after {100 * parts // self._total} % of the work, nothing is kept"
            )
        if self._progress is not None:
            self._told = max(self._told, parts)  # a step that is tried again is no step back
            self._progress(self._told, self._total)
