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


@final
class _Value:
    """A value that would be on the stack: how much is in it, and how deep."""

    __slots__ = ("depth", "size")

    def __init__(self, size: int, depth: int) -> None:
        self.size = size
        self.depth = depth


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
            index = len(memo) if name == "MEMOIZE" else argument
            if index > max_opcodes:  # C's unpickler allocates up to it
                raise pickle.UnpicklingError(f"{index} as the number of a value")
            memo[index] = _top(stack)
        elif name == "DUP":
            stack.append(_top(stack))
        elif name == "POP" and stack and stack[-1] is None:
            stack.pop()
        else:
            if name in ("GLOBAL", "INST") and argument in _UNSAFE_NAMES:
                raise pickle.UnpicklingError(argument)
            taken = _taken(stack, [one.name for one in opcode.stack_before])
            if name in _ADDS:
                target, *parts = taken
            else:
                text = len(argument) // 16 if isinstance(argument, str | bytes) else 0
                target, parts = _Value(1 + text, 0), taken
            added = sum(part.size for part in parts)
            target.size += added
            target.depth = max([target.depth, *(1 + part.depth for part in parts)])
            work += added
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


def _taken(stack: list[_Value | None], before: list[str]) -> list[_Value]:
    """Take from the stack what an opcode takes, the lowest first."""
    slices: list[_Value] = []
    if "mark" in before:
        while stack and (value := stack.pop()) is not None:
            slices.append(value)
        before = before[: before.index("mark")]
    if len(stack) < len(before):
        raise ValueError("its stack is empty")
    singles = stack[len(stack) - len(before) :]
    del stack[len(stack) - len(before) :]
    if None in singles:
        raise ValueError("a mark is where a value should be")
    return [value for value in singles if value is not None] + slices[::-1]
