"""Groups of classes that are pasted together, such as a rider and the bicycle below."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import torch
from torch import Tensor

from mixseg.errors import ConfigError, unknown_name

AUTO = "auto"
"""In place of groups: those that the labels of a run show."""


def members(groups: Sequence[str]) -> list[list[str]]:
    """The names in each group, such as ``pole+traffic sign``.

    Raises:
        ConfigError: A group has no two different names.
    """
    found = []
    for group in groups:
        names = [unicodedata.normalize("NFC", name.strip()) for name in group.split("+")]
        if len(names) < 2 or "" in names or len({*names}) < len(names):
            alone = f"; {AUTO} stands alone" if AUTO in names else ""
            raise ConfigError(
                f"mixing.together {group!r}: expected two or more different classes joined by +, "
                f"as in pole+traffic sign{alone}"
            )
        found.append(names)
    return found


def related_by_name(groups: Sequence[str], class_names: Sequence[str]) -> Tensor:
    """Which classes are in a group: bool, shape (C, C), symmetric, false on the diagonal.

    Args:
        groups: Names joined by +.
        class_names: By train id.

    Raises:
        ConfigError: A class is unknown, or a group has no two different names.
    """
    related = torch.zeros(len(class_names), len(class_names), dtype=torch.bool)
    for names in members(groups):
        for name in names:
            if name not in class_names:
                raise ConfigError(f"mixing.together: {unknown_name('class', name, class_names)}")
        places = [class_names.index(name) for name in names]
        for place in places:
            related[place, places] = True
    return related.fill_diagonal_(False)
