"""ImageNet weights from the Hugging Face hub, without a long wait where it does not answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants, get_session

PATIENCE = 10.0
"""Seconds within which the hub has to answer once."""


@contextmanager
def one_attempt() -> Iterator[None]:
    """In this block weights come from the local cache alone if the hub does not answer.

    The hub's client would ask six times, with pauses, for each of several files, even for files in
    the cache. A download that has begun is not cut off, however slow.
    """
    was_offline = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = was_offline or not _answers()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was_offline


def _answers() -> bool:
    """Whether the hub answers at all."""
    found: list[bool] = []

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=PATIENCE)
            found.append(True)
        except Exception:  # of whichever HTTP library the client uses
            found.append(False)

    # In a thread, because no timeout holds for a name lookup.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return found == [True]
