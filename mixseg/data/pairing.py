"""Finding image files below a folder and pairing them with their labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from mixseg.data.contract import Sample
from mixseg.data.names import composed, two_forms
from mixseg.errors import DataError

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")
"""Endings of files that are taken for images, in lower case."""


def files_by_id(folder: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    """Relative path without its ending -> file, for all files below a folder that end so.

    Paths are given in Unicode's composed form, whatever form the file system keeps.
    Upper and lower case of the ending are the same; hidden files and folders are left out;
    links to folders are followed. A folder that does not exist holds no files.

    Args:
        folder: Where to look, at any depth.
        endings: Endings in lower case.

    Raises:
        DataError: Two files differ in their ending or their form of Unicode only, or a folder
            cannot be listed.
    """
    found: dict[str, Path] = {}
    names: dict[str, Path] = {}
    visited: set[str] = set()
    try:
        for walked, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
            here = Path(walked)
            # A link back to a parent folder would never end.
            real = os.path.realpath(walked)
            folders[:] = [] if real in visited else [f for f in folders if not f.startswith(".")]
            if real in visited:
                continue
            visited.add(real)
            for file in files:
                ending = next((e for e in endings if file.lower().endswith(e.lower())), None)
                if ending is None or file.startswith("."):
                    continue
                path = here / file
                name = composed(path.relative_to(folder).as_posix())
                if name in names:
                    raise two_forms(names[name], path)
                names[name] = path
                key = name[: -len(ending)]
                if key in found:
                    raise DataError(
                        f"{found[key]} and {path} would have the same id {key!r}; remove one"
                    )
                found[key] = path
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: cannot be listed: {error.strerror}"
        ) from error
    return found


Pairing = Callable[[Mapping[str, Path], Mapping[str, Path], str], tuple[Sample, ...]]
"""Images, labels and where labels should lie -> samples; :func:`pair_samples` is one."""


def pair_samples(
    images: Mapping[str, Path], labels: Mapping[str, Path], expected: str
) -> tuple[Sample, ...]:
    """Samples sorted by id, each image with the label of the same id.

    Args:
        images: Id -> image file.
        labels: Id -> label file; further ids are left out.
        expected: Where the labels should lie, for the message.

    Raises:
        DataError: Images have no label; the message counts them and names the first.
    """
    missing = sorted(set(images) - set(labels))
    if missing:
        some = len(missing) < len(images)
        raise DataError(
            f"{len(missing)} of {len(images)} images have no label, the first is "
            f"{images[missing[0]]}; looked for {expected}. Images that are to have none go into a "
            "folder of their own: --unlabeled DIR"
            + ("; data.unpaired: skip leaves them out" if some else "")
        )
    return tuple(sorted(Sample(key, path, labels[key]) for key, path in images.items()))


def pair_labeled(
    images: Mapping[str, Path], labels: Mapping[str, Path], expected: str
) -> tuple[Sample, ...]:
    """As :func:`pair_samples`, without the images that have no label, unless none has one."""
    paired = {key: path for key, path in images.items() if key in labels}
    return pair_samples(paired or images, labels, expected)


def pair_present(
    images: Mapping[str, Path], labels: Mapping[str, Path], expected: str
) -> tuple[Sample, ...]:
    """As :func:`pair_samples`, with samples without a label where there is none."""
    return tuple(sorted(Sample(key, path, labels.get(key)) for key, path in images.items()))


def found_instead(folder: Path) -> str:
    """What lies where files were expected, as the end of a sentence about that folder."""
    if not folder.is_dir():
        nearest = next((p for p in folder.parents if p.is_dir()), None)
        there = f"; {nearest} holds {_contents(nearest)}" if nearest else ""
        return f"{folder} is not a folder{there}"
    return f"{folder} holds {_contents(folder)}"


def _contents(folder: Path, limit: int = 6) -> str:
    try:
        entries = sorted(f"{p.name}/" if p.is_dir() else p.name for p in folder.iterdir())
    except OSError as error:
        return f"what cannot be listed ({error.strerror})"
    if not entries:
        return "nothing"
    more = f" and {len(entries) - limit} more" if len(entries) > limit else ""
    return ", ".join(entries[:limit]) + more


def _raise(error: OSError) -> None:
    raise error
