"""Work is spread over the cores that were granted, from any thread, and errors come back."""

import threading

import pytest

from gpuseg.backends._numba import threads


@pytest.fixture
def fresh(monkeypatch):
    threads.cores.cache_clear()
    yield monkeypatch
    threads.cores.cache_clear()


def test_asked_number_of_cores_wins(fresh):
    fresh.setenv("GPUSEG_THREADS", "3")
    assert threads.cores() == 3


def test_a_container_limit_counts_as_whole_cores(tmp_path):
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert threads._quota(tmp_path) == 2
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert threads._quota(tmp_path) is None


def test_first_version_of_control_groups_is_read(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("400000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert threads._quota(tmp_path) == 4
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    assert threads._quota(tmp_path) is None
    assert threads._quota(tmp_path / "nowhere") is None


def test_every_piece_is_done_once(fresh):
    fresh.setenv("GPUSEG_THREADS", "4")
    done, lock = [], threading.Lock()

    def work(i: int, mine: list[int]) -> None:
        mine.append(i)
        with lock:
            done.append(i)

    threads.spread(100, work, list)
    assert sorted(done) == list(range(100))
    threads.spread(0, work, list)
    assert len(done) == 100


def test_an_error_in_a_thread_is_raised(fresh):
    fresh.setenv("GPUSEG_THREADS", "2")

    def work(i: int, _: None) -> None:
        if i == 7:
            raise ValueError("piece 7")

    with pytest.raises(ValueError, match="piece 7"):
        threads.spread(50, work, lambda: None)


def test_several_threads_may_compute_at_once():
    import numpy as np

    from gpuseg.backends import get_backend
    from gpuseg.features.selection import Selection
    from gpuseg.features.stack import feature_stack

    selection = Selection.table({"gaussian_smoothing": [1.0]})
    pixels = np.random.default_rng(0).random((1, 1, 200, 200), np.float32)
    expected = feature_stack(get_backend("cpu"), pixels, selection)
    results: list[np.ndarray] = []
    workers = [
        threading.Thread(target=lambda: results.append(feature_stack(get_backend("cpu"), pixels, selection)))
        for _ in range(6)
    ]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert len(results) == 6
    assert all(np.array_equal(r, expected) for r in results)
