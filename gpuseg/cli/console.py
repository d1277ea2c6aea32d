"""What a person at the terminal sees: told lines, a progress bar, errors; and how they stop it."""

import logging
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING

import typer

from gpuseg.errors import Cancelled, GpusegError

if TYPE_CHECKING:
    from gpuseg.api import Outcome

Progress = Callable[[str, int, int], None]
EVERY = 10.0  # seconds between progress lines where there is no terminal to draw a bar on
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Echo(logging.Handler):
    """Told lines go to stdout, warnings and errors to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        wrong = record.levelno >= logging.WARNING
        word = "" if not wrong else "Error: " if record.levelno >= logging.ERROR else "Warning: "
        typer.echo(f"{word}{record.getMessage()}", err=wrong)


@contextmanager
def telling(quiet: bool = False) -> Iterator[None]:
    """Inside, what gpuseg logs is printed; with `quiet` only errors."""
    logger, handler = logging.getLogger("gpuseg"), _Echo()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR if quiet else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def tell_error(error: GpusegError) -> None:
    typer.echo(f"{error}" if isinstance(error, Cancelled) else f"Error: {error}", err=True)


def end(outcomes: "Sequence[Outcome]") -> None:
    """Leave with an error if images failed: with 1 if not all did, else with that of the first."""
    if errors := {o.image: o.error for o in outcomes if o.error is not None}:
        if len(outcomes) > 1:
            typer.echo(f"{len(errors)} of {len(outcomes)} images failed: {', '.join(errors)}", err=True)
        done_some = len(errors) < len(outcomes)
        raise typer.Exit(1 if done_some else next(iter(errors.values())).exit_code)


@contextmanager
def progress(quiet: bool = False) -> Iterator[Progress | None]:
    """A progress callback: a bar on a terminal, else a line now and then; None if `quiet`."""
    if quiet:
        yield None
    elif not sys.stderr.isatty():
        yield _lines()
    else:
        with _bar() as callback:
            yield callback


def _lines() -> Progress:
    last = monotonic()

    def show(name: str, done: int, total: int) -> None:
        nonlocal last
        if 0 < done < total and monotonic() - last > EVERY:
            last = monotonic()
            typer.echo(f"{name}: {100 * done // total} %", err=True)

    return show


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
    )
    # Told lines are drawn above the bar if they go to the same terminal; into a pipe they go as they are.
    above = sys.stdout.isatty()
    console = Console(stderr=True)
    with Bar(*columns, TimeRemainingColumn(), console=console, transient=True, redirect_stdout=above) as bar:
        task = bar.add_task("", total=None)

        def show(name: str, done: int, total: int) -> None:
            bar.update(task, description=name, completed=done, total=total)

        yield show


@contextmanager
def stoppable() -> Iterator[Event]:
    """An event that SIGINT or SIGTERM sets, so that work ends cleanly; a second signal ends it at once."""
    event = Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = [signal.signal(s, stop) for s in SIGNALS]
    try:
        yield event
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside, SIGTERM ends the work as SIGINT does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
