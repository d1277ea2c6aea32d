"""Work is spread over the cores that were granted, from any thread, and errors come back."""

import threading

import pytest

from gpuseg.backends._numba import threads
from gpuseg.errors import InputError


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

    done = []

    def work(i: int, _: None) -> None:
        if i == 7:
            raise ValueError("piece 7")
        done.append(i)

    with pytest.raises(ValueError, match="piece 7"):
        threads.spread(10**9, work, lambda: None)
    finished = len(done)
    assert finished < 10**6, "the others stop"
    assert len(done) == finished, "and have stopped when the error is raised"


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


@pytest.mark.parametrize("said", ["two", "0", "-1", "1.5"])
def test_a_senseless_number_of_threads_is_refused(fresh, said):
    fresh.setenv("GPUSEG_THREADS", said)
    with pytest.raises(InputError, match=f"GPUSEG_THREADS = '{said}'"):
        threads.cores()


def test_kernels_run_where_nothing_can_be_kept(monkeypatch, caplog):
    import numba

    from gpuseg.backends._numba import simd

    real = numba.njit

    def njit(**options):
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(simd.numba, "njit", lambda **options: lambda f: njit(**options)(f))
    double = simd.kernel(lambda x: 2 * x)
    assert double(21) == 42
    assert "NUMBA_CACHE_DIR" in caplog.text
