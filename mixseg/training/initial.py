"""The network of an earlier run, where training starts from one."""

from __future__ import annotations

from pathlib import Path

from mixseg.config.checks import WITHOUT_FILE
from mixseg.config.sections import ModelSettings
from mixseg.distributed import by_first, of_first
from mixseg.errors import CheckpointError, ConfigError
from mixseg.training.checkpoint import MANIFEST, listed_tensors
from mixseg.training.saved_network import SavedNetworks, load_networks, newest_checkpoint

NETWORKS = ("student", "teacher", "average")


def network_of_run(settings: ModelSettings) -> SavedNetworks | None:
    """The network that ``model.weights`` names, if it is one of mixseg's; None for other files and
    words.

    A folder is a run or one of its checkpoints, of which the teacher or average is taken where
    there is one; a file that lies in a checkpoint is the network of its name.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged.
        ConfigError: A hash is asked for, which checkpoints have themselves.
    """
    found = _checkpoint(settings)
    if found is None:
        return None
    path, which = found
    # Of a run that is still going on, all processes take the same checkpoint.
    same = of_first(by_first(lambda: str(newest_checkpoint(path))) or "")
    return load_networks(Path(same), which)


def check_network_of_run(settings: ModelSettings) -> None:
    """Raise the errors of :func:`network_of_run` without reading a network."""
    found = _checkpoint(settings)
    if found is None:
        return
    path, which = found
    there = listed_tensors(newest_checkpoint(path))
    if which != "either" and (which not in NETWORKS or which not in there):
        raise CheckpointError(
            f"model.weights: {settings.weights}: is no network of its checkpoint; give one of "
            f"{', '.join(name for name in NETWORKS if name in there)}, or the folder"
        )


def _checkpoint(settings: ModelSettings) -> tuple[Path, str] | None:
    """Folder of a run or checkpoint, and the network that is meant."""
    if settings.weights in WITHOUT_FILE:
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
            "and is checked against them; leave it out, or say --model.weights_sha256 null"
        )
    return found
