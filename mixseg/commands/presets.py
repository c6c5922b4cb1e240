"""Where the shipped presets lie."""

from __future__ import annotations

from pathlib import Path

from mixseg.errors import ConfigError


def presets_folder() -> Path:
    """The shipped ``configs``: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).parents[1]
    for folder in (package.parent / "configs", package / "configs"):
        if (folder / "demo" / "ssl.yaml").is_file():
            return folder
    raise ConfigError("the shipped configs are missing; install mixseg again")
