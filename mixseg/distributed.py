"""Several processes that train as one, on ``torch.distributed``.

``torchrun --nproc-per-node N`` starts N processes; each takes its part of every batch. The sizes in
the settings are those of the whole batch, so that a run is the same run on any number of processes.
Alone, a process is a world of one, and everything here leaves its argument as it is.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from mixseg.errors import ConfigError, MixsegError
from mixseg.rendezvous import store_of_this_start

TIMEOUT = datetime.timedelta(hours=1)
"""How long a process waits for the others: while one writes, or draws a picture."""


T = TypeVar("T")


class World(NamedTuple):
    """The processes of a run.

    Attributes:
        rank: Number of this one; 0 is the one that writes and prints.
        size: How many there are.
    """

    rank: int
    size: int


def world() -> World:
    """The processes that this one has joined."""
    if not dist.is_initialized():
        return World(0, 1)
    return World(dist.get_rank(), dist.get_world_size())


def started_by_torchrun() -> bool:
    """Whether this process is one of a group, even of one."""
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextmanager
def joined() -> Iterator[World]:
    """Join the processes that ``torchrun`` started, for the length of a block.

    Who fails alone does not take leave: with NCCL that would wait for the others, which wait for
    this process. It says what happened and ends, and ``torchrun`` ends the others.

    Raises:
        ConfigError: What ``torchrun`` passes on is incomplete.
    """
    if not started_by_torchrun():
        yield World(0, 1)
        return
    needed = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in needed if name not in os.environ]
    if missing:
        raise ConfigError(f"{missing[0]} is not set, though torchrun started this process")
    # Flags and texts travel on the CPU, whatever the tensors do.
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


def own_gpu() -> torch.device:
    """The GPU of this process: the first process of a machine has the first one, and so on.

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
    """This process's number of images in a batch of the run.

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
    """The sum over all processes, the same in each.

    Gradients are averaged over processes before the student moves. That of a sum is therefore
    ``size`` times that of its own part: a loss made of sums moves the student as if one process
    had seen the whole batch.

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
    """The mean over all processes, the same in each, with the gradient of :func:`summed`."""
    return summed(values) / world().size


def gathered(values: Tensor) -> Tensor:
    """The whole batch out of the parts of all processes, without gradient.

    Args:
        values: Part of this process, shape (B, ...), the same in every process.

    Returns:
        Shape (size * B, ...), in the order in which one process would have loaded it.
    """
    size = world().size
    if size == 1:
        return values
    # Collectives know no booleans.
    sent = values.detach().contiguous()
    sent = sent.view(torch.uint8) if sent.dtype == torch.bool else sent
    parts = [torch.empty_like(sent) for _ in range(size)]
    dist.all_gather(parts, sent)
    whole = torch.cat(parts)
    return whole.view(torch.bool) if values.dtype == torch.bool else whole


def own_shard(whole: Tensor) -> Tensor:
    """What :func:`gathered` has put in for this process."""
    rank, size = world()
    count = len(whole) // size
    return whole[rank * count : (rank + 1) * count]


@torch.no_grad()
def average_in_place(tensors: Sequence[Tensor]) -> None:
    """Replace tensors of floats by their mean over all processes."""
    size = world().size
    if size == 1 or not tensors:
        return
    flat = torch.cat([tensor.detach().flatten().float() for tensor in tensors])
    dist.all_reduce(flat)
    parts = torch.split(flat.div_(size), [tensor.numel() for tensor in tensors])
    means = [part.view_as(tensor) for tensor, part in zip(tensors, parts, strict=True)]
    torch._foreach_copy_(list(tensors), means)


def wait_for_all() -> None:
    """Return once every process has come here."""
    largest(0)  # on the CPU, where torch's own barrier may take a GPU


def by_first(action: Callable[[], T]) -> T | None:
    """Do something in the first process alone; if it fails there, all end, as in :func:`together`.

    Returns:
        What it gave; None in all other processes.
    """
    return together(lambda: action() if world().rank == 0 else None)


def largest(number: int) -> int:
    """The largest of the numbers that the processes give."""
    if world().size == 1:
        return number
    value = torch.tensor(number)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return int(value)


def texts(own: str) -> list[str]:
    """What each process says, in their order."""
    size = world().size
    if size == 1:
        return [own]
    content = own.encode()
    padded = content.ljust(largest(len(content)) + 1, b"\0")  # at least one byte is sent
    parts = [torch.empty(len(padded), dtype=torch.uint8) for _ in range(size)]
    dist.all_gather(parts, torch.tensor(list(padded), dtype=torch.uint8))
    return [bytes(part.tolist()).rstrip(b"\0").decode() for part in parts]


def of_first(text: str) -> str:
    """What the first process says."""
    return texts(text)[0]


def lost_process(error: RuntimeError) -> bool:
    """Whether an error says that the connection to another process is gone."""
    return isinstance(error, dist.DistBackendError) or "gloo/transport" in str(error)


def together(action: Callable[[], T]) -> T:
    """Do what may fail in one process alone; then all end, since the others would wait for it.

    Args:
        action: Without communication between processes.

    Returns:
        What the action of this process gave.

    Raises:
        MixsegError: Of this process, or with the message of the first one that has failed.
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
    said = texts("" if error is None else f"{type(error).__name__}\n{error}")
    if error is None:
        kind, _, message = next(text for text in said if text).partition("\n")
        kinds = {one.__name__: one for one in MixsegError.__subclasses__()}
        error = kinds.get(kind, MixsegError)(message)
    error.everywhere = True
    raise error
