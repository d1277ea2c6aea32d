"""Wrong strokes, views and settings are refused where they are given."""

from typing import Any

import pytest
from unit.session.scene import SOON, Gate, scene, two_classes

from gpuseg.errors import InputError, LabelError, ModelMismatchError, ShapeError


@pytest.mark.parametrize(
    ("where", "values", "error", "message"),
    [
        ([[1, 2, 3]], 1, ShapeError, r"shape \(1, 3\).*\(n, 2\), along yx"),
        ([[1, 2]], [1, 2], ShapeError, r"values \(2,\)"),
        ([[1.0, 2.0]], 1, LabelError, "where is float64"),
        ([[1, 2]], 1.0, LabelError, "values are float64"),
        ([[1, 2]], True, LabelError, "values are bool"),
        ([[1, 2], [60, 3]], 1, LabelError, r"pixel \(60, 3\) is outside of image, \(60, 72\) along yx"),
        ([[1, -2]], 1, LabelError, r"pixel \(1, -2\) is outside"),
        ([[1, 2]], -1, LabelError, "values: -1; classes are 1 to 4294967295"),
        ([[1, 2]], 2**32, LabelError, "values: 4294967296"),
    ],
)
def test_a_wrong_stroke_is_refused_where_it_is_given(
    start: Any, where: Any, values: Any, error: type[Exception], message: str
) -> None:
    session = start(scene())
    with pytest.raises(error, match=message):
        session.update(where, values)
    assert session.labels == {}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s: s.view((slice(0, 5),)), ShapeError, "region has 1 entries, image has the axes yx"),
        (lambda s: s.view((slice(5, 5), 0)), ShapeError, "region: 5:5 in steps of 1 along y; image has 60"),
        (lambda s: s.view((slice(0, 9, 2), 0)), ShapeError, "in steps of 2 along y"),
        (lambda s: s.view((0, 72)), ShapeError, "region: 72:73 in steps of 1 along x; image has 72"),
        (lambda s: s.view(t=1), ShapeError, "t = 1: image has 1 time points"),
        (lambda s: s.view(image=1), InputError, "image = 1: the session has 1, numbered from 0"),
        (lambda s: s.predict_rest(), InputError, "nothing is viewed"),
        (lambda s: s.add_image(scene((9, 20, 20))), ModelMismatchError, "image 1: image is 3D, image is 2D"),
    ],
)
def test_a_wrong_view_or_image_is_refused(
    start: Any, call: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(start(scene()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": -1}, "seed = -1: an integer"),
        ({"trees": 0}, "trees = 0: at least 1"),
        ({"tile": 0}, "tile = 0: at least 1"),
        ({"forest": "oak"}, "unknown forest 'oak'"),
        ({"features": {"gaussian_smoothing": [30.0]}}, "image: sigma 30.0 needs 106 pixels along y"),
        ({"axes": "zyx"}, "image: axes 'zyx' name 3 axes"),
    ],
)
def test_wrong_settings_are_refused_at_the_start(start: Any, settings: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        start(scene(), **settings)


def test_a_request_that_is_not_done_times_out(start: Any) -> None:
    gate = Gate()
    session = start(scene(), on_result=gate)
    session.view()
    request = two_classes(session)
    with pytest.raises(TimeoutError, match=r"no result within 0\.01 s"):
        request.result(0.01)
    assert gate.reached.wait(SOON)
    assert [p.complete for p in request.arrived] == [True]
    gate.open.set()
    assert request.result(SOON) is not None
    assert not request.cancel()
