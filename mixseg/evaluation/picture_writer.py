"""Pictures that are drawn, packed and written while the next image is predicted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import final

from mixseg.data.loading import usable_cores

MOST_THREADS = 8
"""More would take cores from what reads and predicts."""

WAITING_PIXELS = 2**25
"""Most pixels of images whose pictures wait or are being written: 16 frames of 1920x1080."""


@final
class PictureWriter:
    """A few threads that write files, as a context manager.

    Packing a PNG takes longer than a prediction on a GPU, and Pillow lets other threads run
    meanwhile. Whoever hands in more than can wait waits himself; so memory stays bounded, also for
    photographs of 100 megapixels, of which one at a time is in work. Errors are raised in the order
    of the work that they belong to, by a later call or at the end of the block. If the block ends
    with an error, what has not begun is left out.
    """

    def __init__(self, threads: int | None = None) -> None:
        """Threads: how many work; as many as there are cores, but not more than a few."""
        count = min(MOST_THREADS, usable_cores()) if threads is None else threads
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="pictures")
        self._waiting: deque[tuple[int, Future[None]]] = deque()
        self._pixels = 0

    def __enter__(self) -> PictureWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            while error is None and self._waiting:
                self._finish_first()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def __call__(self, pixels: int, *works: Callable[[], None]) -> None:
        """Hand in the works of one image.

        Args:
            pixels: Of the image, which the works keep in memory.
            works: Each writes a file; they run in any order.

        Raises:
            Exception: What earlier work raised.
        """
        while self._waiting and self._pixels + pixels > WAITING_PIXELS:
            self._finish_first()
        while self._waiting and self._waiting[0][1].done():
            self._finish_first()
        for index, work in enumerate(works):
            # Works are finished in order, so the last one stands for the memory of all.
            held = pixels if index == len(works) - 1 else 0
            self._pixels += held
            self._waiting.append((held, self._pool.submit(work)))

    def _finish_first(self) -> None:
        pixels, future = self._waiting.popleft()
        future.result()
        self._pixels -= pixels
