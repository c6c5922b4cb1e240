"""Where the shipped presets lie, and what they are called."""

from __future__ import annotations

from pathlib import Path

from mixseg.errors import ConfigError, unknown_name


def presets_folder() -> Path:
    """The shipped ``configs``: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).parents[1]
    for folder in (package.parent / "configs", package / "configs"):
        if (folder / "demo" / "ssl.yaml").is_file():
            return folder
    raise ConfigError("the shipped configs are missing; install mixseg again")


def configuration_file(name: str) -> Path:
    """The file that ``--config`` names: one of the user's, or a shipped preset.

    A preset goes by its path in ``configs`` or the last part of it, with or without ``.yaml``, and
    with hyphens or underscores: ``folder-small``, ``ssl/folder_small``,
    ``configs/ssl/folder_small.yaml``. A file of that name comes first.

    Raises:
        ConfigError: There is no such file and no such preset, or several presets are called so.
    """
    path = Path(name).expanduser()
    if path.exists() or path.is_absolute():
        return path  # whoever reads it says what is wrong with it
    presets = {
        preset.relative_to(presets_folder()).with_suffix("").as_posix(): preset
        for preset in sorted(presets_folder().glob("*/*.yaml"))
        if preset.parent.name != "ablations"  # which are no settings
    }
    wanted = name.removeprefix("configs/").removesuffix(".yaml").replace("-", "_")
    found = [key for key in presets if wanted in (key, key.rpartition("/")[2])]
    if len(found) == 1:
        return presets[found[0]]
    if found:
        raise ConfigError(f"{name}: several presets are called so: {', '.join(found)}")
    raise ConfigError(f"{name}: there is no such file; " + unknown_name("preset", wanted, presets))
