"""Where the processes of a run find one another, also after ``torchrun`` has started them anew."""

from __future__ import annotations

import os
import socket
import time
from datetime import timedelta

from torch.distributed import DistStoreError, TCPStore  # type: ignore[attr-defined] # is public

ATTEMPT = timedelta(seconds=10)
"""How long one attempt to connect may take."""
_PORT = "mixseg/port"


def store_of_this_start(rank: int, size: int, timeout: timedelta) -> TCPStore | None:
    """A store in which nothing stands yet, the same for all processes that were started together.

    ``torchrun`` serves one store for all its attempts. After a restart, the addresses of processes
    that were killed are still in it, and who reads them before they are replaced tries to connect
    to nobody. It says nothing by which all processes could tell one attempt from another: each
    machine counts its own restarts. So the first process serves a store itself, and the others
    find the one that is alive: ``torchrun`` starts an attempt once all of the last one have ended.

    Args:
        rank: Number of this process.
        size: How many there are.
        timeout: How long to wait for the others, here and in what the store is used for.

    Returns:
        The store; None where ``torchrun`` serves none, and a new one is made in every attempt
        anyway.

    Raises:
        torch.distributed.DistStoreError: The first process did not come.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    host = os.environ["MASTER_ADDR"]
    known = TCPStore(host, int(os.environ["MASTER_PORT"]), is_master=False, timeout=timeout)
    if rank == 0:
        own = TCPStore(host, 0, size, is_master=True, wait_for_workers=False, timeout=timeout)
        known.set(_PORT, str(own.port))
        return own
    deadline = time.monotonic() + timeout.total_seconds()
    while time.monotonic() < deadline:
        port = int(known.get(_PORT))
        try:
            # Refused at once where torch would try again for as long as it may.
            socket.create_connection((host, port), ATTEMPT.total_seconds()).close()
            found = TCPStore(host, port, size, is_master=False, timeout=ATTEMPT)
        except (OSError, RuntimeError):  # torch's own among them
            time.sleep(0.05)
            continue
        found.set_timeout(timeout)
        return found
    raise DistStoreError(f"the first of {size} processes did not come within {timeout}")
