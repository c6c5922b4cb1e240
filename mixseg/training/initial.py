"""The network of an earlier run, where training starts from one."""

from __future__ import annotations

from pathlib import Path

from mixseg.config import ModelSettings
from mixseg.engine.checkpoint import MANIFEST
from mixseg.engine.saved_network import SavedNetworks, load_networks, load_settings
from mixseg.errors import ConfigError


def network_of_run(settings: ModelSettings) -> SavedNetworks | None:
    """The network that ``model.weights`` names, if it is one of mixseg's.

    A folder is a run or one of its checkpoints, of which the teacher is taken where there is one; a
    file that lies in a checkpoint is the network of its name.

    Returns:
        One network; None for other files, ``imagenet`` and ``none``.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged.
        ConfigError: A hash is asked for, which checkpoints have themselves.
    """
    found = _checkpoint(settings)
    return None if found is None else load_networks(*found)


def check_network_of_run(settings: ModelSettings) -> None:
    """Raise the errors of :func:`network_of_run` without reading a network."""
    found = _checkpoint(settings)
    if found is not None:
        load_settings(found[0])


def _checkpoint(settings: ModelSettings) -> tuple[Path, str] | None:
    """Folder of a run or checkpoint, and the network that is meant."""
    if settings.weights in ("imagenet", "none"):
        return None
    path = Path(settings.weights).expanduser()
    if path.is_dir():
        found = path, "either"
    elif path.suffix == ".safetensors" and (path.parent / MANIFEST).is_file():
        found = path.parent, path.stem
    else:
        return None
    if settings.weights_sha256 is not None:
        raise ConfigError(
            f"model.weights_sha256: {path} is of a checkpoint, which lists the hashes of its files "
            "and is checked against them; leave it out"
        )
    return found
