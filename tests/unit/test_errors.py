"""Errors are part of the interface: kinds, wording, exit codes."""

import inspect

import pytest

from gpuseg import errors

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]


def test_an_error_says_what_is_wrong_then_what_to_do():
    error = errors.InputError("cells.tif: 3 channels, expected 2", hint="choose channels")
    assert str(error) == "cells.tif: 3 channels, expected 2\n  hint: choose channels"
    assert (error.problem, error.hint) == ("cells.tif: 3 channels, expected 2", "choose channels")


def test_without_a_hint_there_is_no_second_line():
    assert str(errors.InputError("no labels")) == "no labels"


@pytest.mark.parametrize("kind", CLASSES)
def test_at_names_the_file_and_keeps_kind_and_hint(kind):
    error = kind("too short", hint="copy it again").at("a.tif")
    assert type(error) is kind
    assert str(error) == "a.tif: too short\n  hint: copy it again"


@pytest.mark.parametrize("kind", CLASSES)
def test_the_tree_in_the_docstring_lists_every_class(kind):
    assert kind.__name__ in errors.__doc__
    assert issubclass(kind, errors.GpusegError)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.ModelMismatchError, ValueError),
        (errors.FileError, ValueError),
        (errors.ResourceError, RuntimeError),
        (errors.BackendUnavailableError, RuntimeError),
        (errors.KernelError, RuntimeError),
    ],
)
def test_an_error_is_the_builtin_kind_too(kind, builtin):
    assert issubclass(kind, builtin)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ShapeError, 3),
        (errors.ModelMismatchError, 3),
        (errors.ResourceError, 4),
        (errors.KernelError, 4),
        (errors.Cancelled, 130),
    ],
)
def test_exit_codes_follow_the_kind(kind, code):
    assert kind("x").exit_code == code
