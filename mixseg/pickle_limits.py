"""What a pickle would take to read, found without reading it.

A kilobyte is enough for a tuple that holds itself twice, forty times over: hashed as the key of a
dictionary it takes for ever, and one nested a million times ends the process. Unpicklers that run
no code build such things all the same, so the opcodes are counted first.
"""

from __future__ import annotations

import pickle
import pickletools
from typing import BinaryIO, final

MAX_OPCODES = 2_000_000
"""Most opcodes; a checkpoint with 20,000 tensors has less than half of it."""

MAX_WORK = 20_000_000
"""Most values, with 16 bytes of text as one, that are put into others, counted each time."""

MAX_DEPTH = 100
"""Most values inside each other."""

_UNSAFE_NAMES = ("builtins bytearray", "__builtin__ bytearray")
"""Allocates as much as a number in the file says."""

_ADDS = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")
"""Opcodes that change the first thing that they take, and leave it on the stack."""


_TAKES = {
    one.name: (
        "mark" in (before := [part.name for part in one.stack_before]),
        before.index("mark") if "mark" in before else len(before),
    )
    for one in pickletools.opcodes
}
"""Name of an opcode -> whether it takes all down to a mark, and how many values below that."""


@final
class _Value:
    """A value that would be on the stack: how much is in it, and how deep."""

    __slots__ = ("depth", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.depth = 0

    def take(self, parts: list[_Value]) -> int:
        """Put values into this one; returns their size."""
        added = 0
        for part in parts:
            added += part.size
            self.depth = max(self.depth, 1 + part.depth)
        self.size += added
        return added


def check_pickle(file: BinaryIO, max_opcodes: int = MAX_OPCODES) -> None:
    """Read over one pickle, as far as its end.

    Args:
        file: Stands at the beginning of the pickle; left behind it.
        max_opcodes: Most opcodes that it may have.

    Raises:
        pickle.UnpicklingError: Reading it would take more than the limits.
        ValueError: It is damaged.
    """
    stack: list[_Value | None] = []  # None is a mark
    memo: dict[int, _Value] = {}
    work = 0
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if count >= max_opcodes:
            raise pickle.UnpicklingError(f"more than {max_opcodes} opcodes")
        name = opcode.name
        if name == "MARK":
            stack.append(None)
        elif name.endswith("GET"):
            if argument not in memo:
                raise ValueError(f"nothing was stored as {argument}")
            stack.append(memo[argument])
        elif name.endswith("PUT") or name == "MEMOIZE":
            index = len(memo) if name == "MEMOIZE" else int(argument or 0)
            if index > max_opcodes:  # C's unpickler allocates up to it
                raise pickle.UnpicklingError(f"{index} as the number of a value")
            memo[index] = _top(stack)
        elif name == "DUP":
            stack.append(_top(stack))
        elif name == "POP" and stack and stack[-1] is None:
            stack.pop()
        else:
            if argument in _UNSAFE_NAMES:
                raise pickle.UnpicklingError(argument)
            parts = _taken(stack, *_TAKES[name])
            text = len(argument) // 16 if isinstance(argument, str | bytes) else 0
            target = parts.pop(0) if name in _ADDS else _Value(1 + text)
            work += target.take(parts)
            if target.depth > MAX_DEPTH:
                raise pickle.UnpicklingError(f"more than {MAX_DEPTH} values inside each other")
            if work > MAX_WORK:
                raise pickle.UnpicklingError(f"more than {MAX_WORK} values, most of them repeated")
            if opcode.stack_after:
                stack.append(target)


def _top(stack: list[_Value | None]) -> _Value:
    if not stack or stack[-1] is None:
        raise ValueError("its stack is empty")
    return stack[-1]


def _taken(stack: list[_Value | None], to_mark: bool, count: int) -> list[_Value]:
    """Take from the stack what an opcode takes, the lowest first."""
    taken: list[_Value] = []
    while to_mark and stack and (value := stack.pop()) is not None:
        taken.append(value)
    for _ in range(count):
        taken.append(_top(stack))
        stack.pop()
    return taken[::-1]
