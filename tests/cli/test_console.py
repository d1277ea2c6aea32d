"""Progress, signals and told lines."""

import io
import logging
import os
import signal
import sys

import pytest

from gpuseg.cli import console


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_progress_is_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with console.progress() as show:
        show("cells.png", 1, 4)
        show("cells.png", 2, 4)
    assert "cells.png" in terminal.getvalue()
    assert "50 %" in terminal.getvalue()


def test_elsewhere_progress_is_a_line_now_and_then(monkeypatch, capsys):
    clock = iter([0, 1, 11, 11, 12, 30, 30])
    monkeypatch.setattr(console, "monotonic", lambda: next(clock))
    with console.progress() as show:
        for done in range(1, 5):
            show("cells.png", done, 4)
    assert capsys.readouterr().err == "cells.png: 50 %\n"


def test_quiet_shows_no_progress():
    with console.progress(quiet=True) as show:
        assert show is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_insists(number):
    before = signal.getsignal(number)
    with console.stoppable() as cancel:
        assert not cancel.is_set()
        os.kill(os.getpid(), number)
        assert cancel.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


def test_sigterm_interrupts_like_sigint():
    with console.interruptible(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)


def test_what_is_logged_is_told(capsys):
    log = logging.getLogger("gpuseg.somewhere")
    with console.telling():
        log.info("a line")
        log.error("a mistake")
    with console.telling(quiet=True):
        log.info("unheard")
    log.info("unheard too")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("a line\n", "Error: a mistake\n")


def test_warnings_and_errors_are_named_as_what_they_are(capsys):
    with console.telling():
        for level in (logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger("gpuseg").log(level, "the tile is halved")
    shown = capsys.readouterr()
    assert shown.out == "the tile is halved\n"
    assert shown.err == "Warning: the tile is halved\nError: the tile is halved\n"


def test_a_file_in_one_part_has_no_line_of_0_percent(capsys, monkeypatch):
    monkeypatch.setattr(console, "EVERY", -1.0)
    with console.progress() as tell:
        for done in range(3):
            tell("a.npy", done, 2)
    assert capsys.readouterr().err == "a.npy: 50 %\n"
