"""Items in rounds: in order, on several threads, with the caller's setting left alone."""

from __future__ import annotations

import threading

import pytest
import torch

from cifar.runtime.threads import in_rounds, one_thread


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_results_come_in_order(threads: int, count: int) -> None:
    assert list(in_rounds(lambda item: item**2, range(count), threads)) == [i**2 for i in range(count)]


def test_a_round_runs_at_the_same_time_each_item_on_one_core() -> None:
    meeting = threading.Barrier(2)

    def work(_: int) -> tuple[int, int]:
        meeting.wait(timeout=100)  # ends only if the other item of the round runs too
        return torch.get_num_threads(), threading.get_ident()

    found = list(in_rounds(work, range(4), 2))
    assert {threads for threads, _ in found} == {1}
    assert len({thread for _, thread in found} | {threading.get_ident()}) == 3


def test_nothing_runs_between_rounds() -> None:
    done: list[int] = []
    results = in_rounds(done.append, range(6), 2)
    next(results)
    assert sorted(done) == [0, 1]
    next(results)
    next(results)
    assert sorted(done) == [0, 1, 2, 3]


def test_an_error_reaches_the_caller_and_the_setting_stays() -> None:
    def fail(item: int) -> float:
        return 1 / (2 - item)

    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        list(in_rounds(fail, range(4), 2))
    assert torch.get_num_threads() == before
    new: list[int] = []
    thread = threading.Thread(target=lambda: new.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert new == [before]


def test_one_thread_inside_only() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
