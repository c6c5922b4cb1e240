"""Several processes that train as one, on ``torch.distributed``.

``torchrun --nproc-per-node N`` starts N processes; each takes its shard of every batch. The sizes
in the settings are those of the whole batch, so that a run is the same run on any number of
processes.
A process without others is a world of size 1, and every collective returns its argument unchanged.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed import DistStoreError, TCPStore  # type: ignore[attr-defined] # is public

from mixseg.errors import ConfigError, MixsegError

TIMEOUT = timedelta(hours=1)
"""How long a collective waits for the other processes: one of them may be writing a file."""

ATTEMPT = timedelta(seconds=10)
"""How long one attempt to connect may take."""

_PORT = "mixseg/port"

T = TypeVar("T")


class World(NamedTuple):
    """Rank of this process and number of processes.

    Attributes:
        rank: 0 is the process that writes and prints.
        size: Number of processes.
    """

    rank: int
    size: int


def world() -> World:
    """The world of this process; of size 1 without a process group."""
    if not dist.is_initialized():
        return World(0, 1)
    return World(dist.get_rank(), dist.get_world_size())


@contextmanager
def joined() -> Iterator[World]:
    """The process group that ``torchrun`` describes, for the length of a block.

    A process that fails alone does not destroy the group: NCCL would wait for the others, which
    wait for this process. It reports its error and exits, and ``torchrun`` ends the others.

    Raises:
        ConfigError: What ``torchrun`` passes on is incomplete.
    """
    if not dist.is_torchelastic_launched():
        yield World(0, 1)
        return
    needed = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in needed if name not in os.environ]
    if missing:
        raise ConfigError(f"{missing[0]} is not set, though torchrun started this process")
    # Numbers and strings are exchanged on the CPU, whatever device the tensors are on.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = store_of_this_start(rank, size, TIMEOUT)
    dist.init_process_group(backend, timeout=TIMEOUT, store=store, rank=rank, world_size=size)
    try:
        yield world()
    except BaseException as error:
        if getattr(error, "everywhere", False):
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def store_of_this_start(rank: int, size: int, timeout: timedelta) -> TCPStore | None:
    """An empty store, the same for all processes that ``torchrun`` has started together.

    ``torchrun`` serves one store for all its attempts. After a restart it still holds the addresses
    of processes that were killed, and whoever reads them before they are replaced connects to
    nobody; nor can all processes tell one attempt from another, since each machine counts its own
    restarts. So the first process serves a new store, and the others find the one that is alive:
    ``torchrun`` starts an attempt once all processes of the last one have ended.

    Args:
        rank: Number of this process.
        size: Number of processes.
        timeout: How long to wait for the others, here and in what the store is used for.

    Returns:
        The store; None where ``torchrun`` serves none and torch makes a new one in every attempt.

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


def own_gpu() -> torch.device:
    """The GPU whose index is this process's local rank.

    Raises:
        ConfigError: There are more processes on this machine than GPUs.
    """
    if world().size == 1:
        return torch.device("cuda")
    rank, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if rank >= gpus:
        raise ConfigError(
            f"process {rank} of this machine has no GPU: there are {gpus}; give torchrun "
            f"--nproc-per-node {gpus}, or --device cpu"
        )
    torch.cuda.set_device(rank)  # NCCL goes by it
    return torch.device("cuda", rank)


def share_of(batch: int) -> int:
    """Number of images of a whole batch that this process takes.

    Raises:
        ConfigError: The batch does not divide.
    """
    size = world().size
    if batch % size:
        raise ConfigError(
            f"a batch of {batch} cannot be divided among {size} processes; batch sizes are those "
            f"of the whole run: take a multiple of {size}"
        )
    return batch // size


def summed(values: Tensor) -> Tensor:
    """All-reduce: the sum over all processes, the same in each.

    Collective: every process must call it. The update averages gradients over processes, so the
    gradient of the sum is ``size`` times that of the own summand: a loss made of
    sums then has the gradient of one process with the whole batch.

    Args:
        values: Any shape, the same in every process.

    Returns:
        The same shape and dtype.
    """
    size = world().size
    if size == 1:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    if not values.requires_grad:
        return total
    return total + size * (values - values.detach())


def averaged(values: Tensor) -> Tensor:
    """All-reduce: the mean over all processes, with the gradient of :func:`summed`; collective."""
    return summed(values) / world().size


def gathered(values: Tensor) -> Tensor:
    """All-gather: the whole batch out of the shards of all processes, without gradient.

    Collective: every process must call it.

    Args:
        values: Shard of this process, shape (B, ...), the same in every process.

    Returns:
        Shape (size * B, ...), in the order in which one process would have loaded it.
    """
    size = world().size
    if size == 1:
        return values
    # Collectives do not support bool.
    sent = values.detach().contiguous()
    sent = sent.view(torch.uint8) if sent.dtype == torch.bool else sent
    shards = [torch.empty_like(sent) for _ in range(size)]
    dist.all_gather(shards, sent)
    whole = torch.cat(shards)
    return whole.view(torch.bool) if values.dtype == torch.bool else whole


def own_shard(whole: Tensor) -> Tensor:
    """The shard of this process of a batch that :func:`gathered` returned."""
    rank, size = world()
    count = len(whole) // size
    return whole[rank * count : (rank + 1) * count]


BUCKET = 2**23
"""Numbers that are averaged at a time."""


@torch.no_grad()
def average_in_place(tensors: Sequence[Tensor]) -> None:
    """All-reduce: replace floating-point tensors by their mean over all processes; collective."""
    size = world().size
    if size == 1:
        return
    bucket: list[Tensor] = []
    for number, tensor in enumerate(tensors, start=1):
        bucket.append(tensor.detach())
        if number < len(tensors) and sum(one.numel() for one in bucket) < BUCKET:
            continue
        flat = torch.cat([one.flatten().float() for one in bucket]).mul_(1 / size)
        dist.all_reduce(flat)
        parts = torch.split(flat, [one.numel() for one in bucket])
        torch._foreach_copy_(
            bucket, [part.view_as(one) for one, part in zip(bucket, parts, strict=True)]
        )
        bucket = []


def wait_for_all() -> None:
    """Barrier: return once every process has called it."""
    largest(0)  # on the CPU; torch's own barrier may use a GPU


def by_first(action: Callable[[], T]) -> T | None:
    """Run `action` in rank 0 alone; if it raises there, raise in all. Collective.

    Returns:
        Its result in rank 0; None in all other processes.
    """
    return together(lambda: action() if world().rank == 0 else None)


def largest(number: int) -> int:
    """All-reduce of an integer: its maximum over all processes. Collective."""
    if world().size == 1:
        return number
    value = torch.tensor(number)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return int(value)


def texts(own: str) -> list[str]:
    """All-gather of a string: one from each process, by rank. Collective."""
    size = world().size
    if size == 1:
        return [own]
    content = own.encode()
    padded = content.ljust(largest(len(content)) + 1, b"\0")  # at least one byte is sent
    received = [torch.empty(len(padded), dtype=torch.uint8) for _ in range(size)]
    dist.all_gather(received, torch.tensor(list(padded), dtype=torch.uint8))
    return [bytes(one.tolist()).rstrip(b"\0").decode() for one in received]


def of_first(text: str) -> str:
    """Broadcast of a string from rank 0. Collective."""
    return texts(text)[0]


def lost_process(error: RuntimeError) -> bool:
    """Whether an error means that the connection to another process is lost."""
    return isinstance(error, dist.DistBackendError) or "gloo/transport" in str(error)


def together(action: Callable[[], T]) -> T:
    """Run `action` in every process; if it raises in any, raise in all. Collective.

    Without it the other processes would wait in their next collective for the one that failed.

    Args:
        action: Without collectives.

    Returns:
        The result of this process's action.

    Raises:
        MixsegError: That of this process, or one with the message of the first that failed.
    """
    if world().size == 1:
        return action()
    error: MixsegError | None = None
    try:
        done = action()
    except MixsegError as one:
        error = one
    if not largest(int(error is not None)):
        return done
    messages = texts("" if error is None else f"{type(error).__name__}\n{error}")
    if error is None:
        kind, _, message = next(text for text in messages if text).partition("\n")
        kinds = {one.__name__: one for one in MixsegError.__subclasses__()}
        error = kinds.get(kind, MixsegError)(message)
    error.everywhere = True
    raise error
