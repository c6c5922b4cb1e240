"""ImageNet weights of the Hugging Face hub, without waiting for a hub that does not answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants, get_session

PATIENCE = 10.0
"""Seconds within which the hub has to answer once."""


@contextmanager
def one_attempt() -> Iterator[None]:
    """Within the block, weights come from the local cache alone if the hub does not answer.

    The hub's client asks for each of several files six times, with pauses, before it gives up, and
    so it does for files that it has already. A download that has begun is left alone, however
    slow.
    """
    was_offline = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = was_offline or not _answers()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was_offline


def _answers() -> bool:
    """Whether the hub gives any answer at all."""
    found: list[bool] = []

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=PATIENCE)
            found.append(True)
        except Exception:  # of whichever HTTP library the client uses
            found.append(False)

    # In a thread, because looking up a name heeds no timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return found == [True]
