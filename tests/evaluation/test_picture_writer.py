"""Work that is done in threads beside other work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from mixseg.errors import DataError
from mixseg.evaluation.picture_writer import WAITING_PIXELS, PictureWriter


def failing(message: str, after: float = 0.0) -> Callable[[], None]:
    def work() -> None:
        time.sleep(after)
        raise DataError(message)

    return work


def test_all_work_is_done_at_the_end_of_the_block() -> None:
    done: list[int] = []
    with PictureWriter(3) as write:
        for index in range(20):
            write(1, lambda index=index: done.append(2 * index), lambda: done.append(1))
    assert sorted(one for one in done if one != 1) == [*range(0, 40, 2)]
    assert done.count(1) == 20


def test_work_goes_on_beside_the_block() -> None:
    released = threading.Event()

    def work() -> None:
        assert released.wait(30), "the block waits for its work"

    with PictureWriter(1) as write:
        write(1, work)
        released.set()  # would not be reached if the call waited


def test_no_more_waits_than_fits() -> None:
    at_once = most = 0
    lock, three = threading.Lock(), threading.Event()

    def work() -> None:
        nonlocal at_once
        time.sleep(0.01)
        three.wait(30)
        with lock:
            at_once -= 1

    with PictureWriter(2) as write:
        for _ in range(6):
            with lock:
                at_once += 1
                most = max(most, at_once)
                if at_once == 3:
                    threading.Timer(0.05, three.set).start()
            write(WAITING_PIXELS // 2, work)
    # Two fit, and one is held by the caller until there is room.
    assert most == 3 and at_once == 0


def test_an_image_larger_than_what_may_wait_is_alone() -> None:
    done: list[int] = []
    with PictureWriter(2) as write:
        write(10 * WAITING_PIXELS, lambda: done.append(0))
        write(10 * WAITING_PIXELS, lambda: done.append(1))
        assert done[:1] == [0]
    assert done == [0, 1]


def test_the_first_error_is_raised() -> None:
    with pytest.raises(DataError, match="first"), PictureWriter(2) as write:
        write(1, failing("first", after=0.05))
        write(1, failing("second"))


def test_an_error_ends_the_work_that_has_not_begun() -> None:
    begun: list[int] = []

    def slow(index: int) -> None:
        begun.append(index)
        time.sleep(0.05)

    with pytest.raises(KeyError), PictureWriter(1) as write:
        for index in range(50):
            write(1, lambda index=index: slow(index))
        raise KeyError
    assert len(begun) < 50


def test_errors_come_before_the_end() -> None:
    handed_in = 0
    with pytest.raises(DataError, match="disk"), PictureWriter(1) as write:
        for _ in range(1000):
            write(1, failing("disk"))
            handed_in += 1
            time.sleep(0.01)
    assert handed_in < 1000
