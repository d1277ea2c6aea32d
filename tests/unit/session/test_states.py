"""What a session says it is in, and how it goes on and ends."""

from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
from unit.session.scene import FEW, LEFT, RIGHT, SOON, Gate, scene, two_classes

from gpuseg import PixelClassifier, PixelModel, Session
from gpuseg.errors import InputError, LabelError, ShapeError


def test_one_class_waits_for_a_second(start: Any) -> None:
    errors: list[Exception] = []
    session = start(scene(), on_error=errors.append)
    assert session.status == "needs labels"
    session.view()
    assert session.update(LEFT, 1).result(SOON) is None
    assert (session.status, session.model, errors) == ("needs two classes", None, [])
    assert session.update(RIGHT, 4).result(SOON) is not None
    assert session.status == "ready"
    session.update(RIGHT, 0).result(SOON)
    assert (session.status, session.model) == ("needs two classes", None)
    session.update(LEFT, 0).result(SOON)
    assert (session.status, session.labels) == ("needs labels", {})


def test_what_cannot_be_learned_is_told_and_the_session_goes_on(start: Any) -> None:
    image = scene()
    image[50, 60] = np.nan
    told = Event()
    errors: list[Exception] = []

    def on_error(error: Exception) -> None:
        errors.append(error)
        told.set()

    session = start(image, on_error=on_error)
    two_classes(session).result(SOON)
    request = session.update([[50, 59]], 2)
    with pytest.raises(InputError, match=r"1 of 4320 pixels are NaN.*first at y 50, x 60"):
        request.result(SOON)
    assert told.wait(SOON)
    assert errors == [session.error]
    assert (session.status, session.model) == ("failed", None)
    assert session.view((slice(0, 9), 5)).result(SOON) is None
    assert (session.status, session.error) == ("failed", errors[0])
    with pytest.raises(InputError, match="NaN"):
        session.save("never.gpuseg")
    session.update([[50, 59]], 0).result(SOON)
    assert (session.status, session.error) == ("ready", None)


def test_a_callback_that_fails_does_not_end_the_session(start: Any, caplog: Any) -> None:
    session = start(scene(), on_result=lambda _: 1 / 0)
    session.view()
    assert two_classes(session).result(SOON) is not None
    assert session.update(LEFT[:3], 2).result(SOON) is not None
    assert "ZeroDivisionError" in caplog.text


def test_a_small_image_is_refused_where_the_model_does_not_fit(start: Any) -> None:
    session = start(scene((60, 72)), features="all")
    number = session.add_image(scene((20, 20)))
    two_classes(session).result(SOON)
    with pytest.raises(ShapeError, match=r"image 1: sigma 10.0 needs 36 pixels along y, the image has 20"):
        session.view(image=number).result(SOON)
    assert session.view(image=0).result(SOON) is not None
    with pytest.raises(ShapeError, match=r"image 2: sigma 10.0 needs 36 pixels along y, the image has 20"):
        session.add_image(scene((20, 20)))


def test_a_small_image_is_refused_before_there_is_a_model(start: Any) -> None:
    session = start(scene((60, 72)), features="all")
    number = session.add_image(scene((20, 20)))
    session.update(LEFT, 1).result(SOON)
    with pytest.raises(ShapeError, match=r"image 1: sigma 10.0 needs 36 pixels along y, the image has 20"):
        session.view(image=number).result(SOON)
    assert session.status == "failed"


def test_names_are_those_of_the_model(start: Any, tmp_path: Path) -> None:
    session = start(scene())
    session.set_names({1: "background"})
    two_classes(session).result(SOON)
    session.set_names({2: "cell"})
    session.save(tmp_path / "m.gpuseg")
    assert [c.name for c in PixelModel.load(tmp_path / "m.gpuseg").classes] == ["background", "cell"]


def test_saving_waits_for_the_strokes(start: Any, tmp_path: Path) -> None:
    session = start(scene())
    with pytest.raises(LabelError, match="no labelled pixel"):
        session.save(tmp_path / "m.gpuseg")
    two_classes(session)
    request = session.update([[50, 60]], 2)
    session.save(tmp_path / "m.gpuseg")
    assert request.result(SOON) is None
    assert PixelModel.load(tmp_path / "m.gpuseg").hash == session.model.hash
    session.update(RIGHT, 1).cancel()
    session.update([[50, 60]], 0).cancel()
    with pytest.raises(LabelError, match="only class 1"):
        session.save(tmp_path / "m.gpuseg")


def test_a_callback_may_save_and_close(start: Any, tmp_path: Path) -> None:
    """It runs in the thread that they wait for."""
    refused: list[Exception] = []
    done = Event()

    def on_result(_: Any) -> None:
        session.save(tmp_path / "m.gpuseg")
        session.update([[50, 60]], 2)
        try:
            session.save(tmp_path / "never.gpuseg")
        except InputError as e:
            refused.append(e)
        session.close()
        done.set()

    session = start(scene(), on_result=on_result)
    session.view()
    two_classes(session)
    assert done.wait(SOON)
    session._worker._thread.join(SOON)
    assert session.status == "closed"
    assert (tmp_path / "m.gpuseg").is_file()
    assert "not learned yet" in str(refused[0])


def test_closing_ends_the_thread_and_every_request(start: Any) -> None:
    gate = Gate()
    session = start(scene((128, 128)), tile=2**10, on_result=gate)
    session.view()
    running = two_classes(session)
    assert gate.reached.wait(SOON)
    waiting = session.update(LEFT, 2)
    Thread(target=gate.open.set).start()
    session.close()
    assert running.cancelled()
    assert waiting.cancelled()
    assert not session._worker._thread.is_alive()
    assert (session.status, session.cached_bytes) == ("closed", 0)
    for call in (session.view, lambda: session.update(LEFT, 1), lambda: session.add_image(scene())):
        with pytest.raises(InputError, match="the session is closed"):
            call()


def test_a_session_ends_with_its_block(start: Any) -> None:
    with start(scene()) as session:
        two_classes(session).result(SOON)
    assert session.status == "closed"


def test_a_forgotten_session_ends_its_thread(backend: str) -> None:
    session = Session(scene(), features=FEW, backend=backend)
    thread = session._worker._thread
    del session
    thread.join(SOON)
    assert not thread.is_alive()


def test_many_threads_may_paint(start: Any) -> None:
    session = start(scene((64, 64)))
    session.view()

    def paint(column: int) -> None:
        for row in range(20):
            session.update([[row, column]], 1 + column // 32)

    painters = [Thread(target=paint, args=(c,)) for c in range(0, 64, 8)]
    for p in painters:
        p.start()
    for p in painters:
        p.join()
    session.update(np.zeros((0, 2), int), []).result(SOON)
    labels = np.zeros((64, 64), int)
    labels[:20, 0:32:8], labels[:20, 32:64:8] = 1, 2
    expected = PixelClassifier(FEW, n_estimators=10, backend="cpu").fit(scene((64, 64)), labels)
    assert session.model.hash == expected.model_.hash
