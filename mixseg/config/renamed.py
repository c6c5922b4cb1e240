"""Settings of earlier versions: how their names and values are understood today."""

from __future__ import annotations

import logging
from typing import Any

RENAMED: dict[str, str] = {
    "augmentation.colour_jitter": "augmentation.color_jitter",
    "augmentation.colour_jitter_probability": "augmentation.color_jitter_probability",
    "augmentation.colour_jitter_form": "augmentation.color_jitter_form",
    "training.tensorboard": "training.loggers",
}
"""Old path -> path."""

VALUES: dict[str, dict[Any, Any]] = {
    "training.tensorboard": {True: ("tensorboard",), False: (), "true": "tensorboard", "false": ""},
    "model.upsampling": {"learnt": "learned"},
}
"""Path, as it is given -> old value -> value."""

_said: set[str] = set()


def translated(path: str, value: Any, *, say: bool = True) -> tuple[str, Any]:
    """Path and value of today; with ``say`` an old name is noted once in a process."""
    old = VALUES.get(path, {})
    new = old.get(value, value) if isinstance(value, bool | str) else value
    name = RENAMED.get(path, path)
    if say and (name != path or new is not value) and path not in _said:
        _said.add(path)
        shown = "" if new is value else f" {new}"
        logging.getLogger("mixseg").warning("note: %s is now %s%s", path, name, shown)
    return name, new
