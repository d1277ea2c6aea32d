"""The newest request wins, and nothing is delivered after a cancel."""

from threading import Event
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from unit.session.scene import LEFT, RIGHT, SLOW, SOON, Gate, scene, two_classes

import gpuseg
from gpuseg import PixelClassifier, PixelModel
from gpuseg.errors import Cancelled
from gpuseg.session import painter as painting
from gpuseg.session import worker as working


def test_nothing_is_delivered_after_a_cancel(start: Any) -> None:
    gate = Gate()
    session = start(scene((128, 128)), tile=2**10, on_result=gate)
    session.view()
    request = two_classes(session)
    assert gate.reached.wait(SOON)
    assert request.cancel()
    assert request.done()
    assert request.cancelled()
    gate.open.set()
    with pytest.raises(Cancelled, match="was cancelled"):
        request.result(SOON)
    session.close()
    assert len(gate.told) == 1 == len(request.arrived)


def test_a_tile_that_was_computed_meanwhile_is_not_delivered(start: Any, monkeypatch: Any) -> None:
    gate, proba, told = Gate(), painting.Painter.proba, []

    def slow(*args: Any) -> Any:
        gate(None)
        return proba(*args)

    monkeypatch.setattr(painting.Painter, "proba", slow)
    session = start(scene(), on_result=told.append)
    session.view()
    request = two_classes(session)
    assert gate.reached.wait(SOON)
    request.cancel()
    gate.open.set()
    session.close()
    assert told == []
    assert len(gate.told) == 1


@pytest.mark.parametrize("backend", ["cpu"], indirect=True)  # the stand-in for a GPU is slow
def test_cancelling_ends_the_work_within_a_fifth_of_a_second(start: Any) -> None:
    first = Event()
    session = start(scene((1024, 1024)), features="all", on_result=lambda _: first.set())
    session.view(region=(slice(0, 8), slice(0, 8))).result(SOON)  # compiled code is loaded
    two_classes(session).result(SOON)
    first.clear()
    request = session.view()
    assert first.wait(SOON)
    began = perf_counter()
    request.cancel()
    assert perf_counter() - began < 0.01 * SLOW
    session.view(region=(slice(0, 8), slice(0, 8)))
    first.clear()
    assert first.wait(SOON)
    assert perf_counter() - began < 0.2 * SLOW


def test_a_model_in_the_making_is_thrown_away_by_a_cancel(start: Any, monkeypatch: Any) -> None:
    gate, teach = Gate(), working.teach

    def slow(*args: Any, **settings: Any) -> PixelModel:
        gate(None)
        return teach(*args, **settings)

    monkeypatch.setattr(working, "teach", slow)
    session = start(scene())
    request = two_classes(session)
    assert gate.reached.wait(SOON)
    assert session.status == "learning"
    assert request.cancel()
    gate.open.set()
    worker = session._worker
    with worker._changed:
        assert worker._changed.wait_for(worker._settled, SOON)
    assert (session.status, session.model) == ("stopped", None)
    session.view().result(SOON)  # learns what the cancelled request did not
    assert len(gate.told) == 2
    assert session.model is not None
    assert request.cancelled()


def test_strokes_that_come_during_training_are_learned_at_once(start: Any, monkeypatch: Any) -> None:
    gate, teach = Gate(), working.teach

    def slow(images: Any, *args: Any, **settings: Any) -> PixelModel:
        gate(sum(len(i.labels) for i in images))
        return teach(images, *args, **settings)

    monkeypatch.setattr(working, "teach", slow)
    session = start(scene())
    two_classes(session)
    assert gate.reached.wait(SOON)
    dots = [session.update([[50, i]], 1) for i in range(10)]
    gate.open.set()
    dots[-1].result(SOON)
    assert all(d.cancelled() for d in dots[:-1])
    assert gate.told == [len(LEFT) + len(RIGHT), len(LEFT) + len(RIGHT) + 10]


def test_a_new_view_stops_the_old_one(start: Any) -> None:
    gate = Gate()
    session = start(scene((128, 128)), tile=2**10, on_result=gate)
    two_classes(session).result(SOON)
    old = session.view()
    assert gate.reached.wait(SOON)
    new = session.view((slice(96, 128), slice(96, 128)))
    gate.open.set()
    assert new.result(SOON).region == (slice(96, 128), slice(96, 128))
    assert old.cancelled()
    assert len(gate.told) == 2


def test_a_new_view_during_training_is_the_only_one_shown(start: Any, monkeypatch: Any) -> None:
    gate, teach, told = Gate(), working.teach, []

    def slow(*args: Any, **settings: Any) -> PixelModel:
        gate(None)
        return teach(*args, **settings)

    monkeypatch.setattr(working, "teach", slow)
    session = start(scene((128, 128)), tile=2**10, on_result=told.append)
    session.view((slice(0, 32), slice(0, 32)))
    old = two_classes(session)
    assert gate.reached.wait(SOON)
    new = session.view((slice(96, 128), slice(96, 128)))
    gate.open.set()
    assert new.result(SOON) is not None
    assert old.cancelled()
    assert [p.region for p in told] == [(slice(96, 128), slice(96, 128))]
    assert len(gate.told) == 1


def test_a_brush_that_never_rests_sees_every_tile(start: Any) -> None:
    """Each tile brings the next stroke: a round shows but one of them, and another each time."""
    told: list[Any] = []
    rest = Event()

    def paint(prediction: Any) -> None:
        told.append(prediction)
        if len(told) < 8:
            session.update([[60 + len(told), 5]], 1)
        else:
            rest.set()

    session = start(scene((128, 128)), tile=2**12, on_result=paint)
    session.view().result(SOON)
    two_classes(session)
    assert rest.wait(SOON)
    assert len({str(p.region) for p in told[:4]}) == 4
    assert len({p.model for p in told[:8]}) == 8


@pytest.mark.parametrize("backend", ["cpu"], indirect=True)  # the stand-in for a GPU is slow
def test_a_stroke_of_ten_thousand_pixels_returns_at_once(start: Any) -> None:
    session = start(scene((1024, 1024)))
    rng = np.random.default_rng(0)
    times = []
    for _ in range(5):
        where = rng.integers(0, 1024, (10_000, 2))
        began = perf_counter()
        session.update(where, 1)
        times.append(perf_counter() - began)
    assert min(times) < 0.016


@pytest.mark.parametrize("always", [True, False], ids=["predict_all", "predict_rest"])
def test_the_rest_follows_the_view(start: Any, always: bool) -> None:
    told: list[gpuseg.session.Prediction] = []
    session = start(scene((96, 128)), tile=2**10, on_result=told.append, predict_all=always)
    session.view((slice(32, 64), slice(32, 64)))
    answer = two_classes(session).result(SOON)
    if not always:
        told.clear()
        answer = session.predict_rest().result(SOON)
    assert answer.proba.shape == (32, 32, 2)
    assert told[0].region == (slice(32, 64), slice(32, 64))
    mine = [p for p in told if p.model == session.model.hash]
    proba = np.full((96, 128, 2), np.nan, np.float32)
    for p in mine:
        proba[p.region] = p.proba
    fitted = PixelClassifier.from_model(session.model, backend="cpu")
    assert_array_equal(proba, fitted.predict_proba(scene((96, 128))))
    assert [p.complete for p in mine] == [False] * (len(mine) - 1) + [True]
