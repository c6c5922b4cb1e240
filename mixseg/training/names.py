"""What a run is called when nobody says."""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path

from mixseg.config.effect import command_of, takes_part
from mixseg.config.sections import Settings
from mixseg.models import model_title


def run_name(settings: Settings) -> str:
    """Such as ``ssl-demo-classmix-1of8-seed0-20260102-030405``."""
    source = settings.source_domain.dataset
    labeled = settings.data.labeled if source is None else settings.source_domain.labeled
    fraction = re.fullmatch(r"(\d+)/(\d+)", labeled)
    labeled = f"{fraction[1]}of{fraction[2]}" if fraction else Path(labeled).name
    labeled = re.sub(r"[^A-Za-z0-9.]", "-", labeled)
    parts = [command_of(settings.method), *([source] if source else []), settings.data.dataset]
    if takes_part(settings.method, "mixer"):
        parts.append(settings.mixing.mixer)
    if takes_part(settings.method, "trained_teacher"):
        parts.append(model_title(settings.model))
    return "-".join([*parts, labeled[:20], f"seed{settings.seed}", time.strftime("%Y%m%d-%H%M%S")])


def unused_name(folder: Path, name: str) -> str:
    """The name, or with a number after it if another run of the same second has taken it."""
    names = (name if number == 1 else f"{name}-{number}" for number in itertools.count(1))
    return next(name for name in names if not (folder / name).exists())
