"""Finding image files below a folder and pairing them with their labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import final

from mixseg.data.contract import Sample
from mixseg.data.names import composed, two_forms
from mixseg.errors import DataError, named_first

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")
"""Endings of images, in lower case."""

OTHER_PICTURES = (
    *(".avif", ".bmp", ".dng", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jxl", ".pgm", ".ppm"),
    *(".tga", ".tif", ".tiff", ".webp"),
)
"""Endings of pictures whose formats are not read, in lower case."""


@final
class Folder:
    """The files below a folder at any depth, listed on first use and then remembered.

    Hidden files and folders are left out; links to folders are followed. A folder that does not
    exist holds no files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listed: list[Path] | None = None

    def by_id(self, *endings: str) -> dict[str, Path]:
        """Id -> file, for all files with one of the endings, given in lower case.

        An id is the relative path without its ending, in Unicode's composed form. Where several
        files would have the same id, they keep their endings.

        Raises:
            DataError: Two names differ in their form of Unicode only, or a folder cannot be listed.
        """
        files: dict[str, Path] = {}
        for path in self._files():
            if path.name.lower().endswith(endings):
                name = composed(path.relative_to(self.path).as_posix())
                if name in files:
                    raise two_forms(files[name], path)
                files[name] = path
        return {key: files[name] for name, key in unique_ids(files, endings).items()}

    def passed_over(self) -> str:
        """A note on pictures whose formats are not read; empty without any."""
        try:
            found = sorted(one for one in self._files() if one.suffix.lower() in OTHER_PICTURES)
        except DataError:  # said where images are looked for
            return ""
        if not found:
            return ""
        kinds = Counter(path.suffix.lower() for path in found)
        counted = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
        return (
            f"{self.path}: passed over {counted}, the first is {found[0]}; only PNG and JPEG files "
            "are read, convert those that belong to the data"
        )

    def _files(self) -> list[Path]:
        if self._listed is None:
            self._listed = _walk(self.path)
        return self._listed


def _walk(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            at = error.filename or folder
            raise DataError(f"{at}: cannot be listed: {error.strerror}") from error

    found: list[Path] = []
    visited: set[str] = set()
    for walked, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        # A link back to a parent folder would never end.
        real = os.path.realpath(walked)
        folders[:] = [] if real in visited else [f for f in folders if not f.startswith(".")]
        if real not in visited:
            visited.add(real)
            found += [Path(walked) / file for file in files if not file.startswith(".")]
    return found


def unique_ids(names: Iterable[str], endings: tuple[str, ...] = IMAGE_ENDINGS) -> dict[str, str]:
    """Name -> id: the name without its ending, or whole where others would have the same id."""
    short = {name: without_ending(name, endings) for name in names}
    count = Counter(short.values())
    whole = {name for name, key in short.items() if count[key] > 1}
    # A name that stays whole may be what another one is without its ending.
    while clashing := {name for name, key in short.items() if key in whole and name not in whole}:
        whole |= clashing
    return {name: name if name in whole else key for name, key in short.items()}


def without_ending(name: str, endings: tuple[str, ...] = IMAGE_ENDINGS) -> str:
    """A path without its ending; other dots belong to the name."""
    ending = next((one for one in endings if name.lower().endswith(one)), "")
    return name[: len(name) - len(ending)]


Pairing = Callable[[Mapping[str, Path], Mapping[str, Path], str], tuple[Sample, ...]]
"""Images, labels and where labels should lie -> samples."""


def pair_samples(
    images: Mapping[str, Path], labels: Mapping[str, Path], expected: str
) -> tuple[Sample, ...]:
    """Samples sorted by id, each image with the label of the same id; other labels are left out.

    Raises:
        DataError: Images have no label, and ``expected`` says where it should lie; two images
            could have the same label, or an image two labels.
    """
    missing = _without_label(images, labels)
    if missing:
        some = len(missing) < len(images)
        raise DataError(
            f"{len(missing)} of {len(images)} images have no label, the first is "
            f"{images[missing[0]]}; looked for {expected}. Images that are to have none go into a "
            "folder of their own: --unlabeled DIR"
            + ("; data.unpaired: skip leaves them out" if some else "")
        )
    return _samples(images, labels)


def pair_labeled(
    images: Mapping[str, Path], labels: Mapping[str, Path], expected: str
) -> tuple[Sample, ...]:
    """As :func:`pair_samples`, without the images that have no label, unless none has one."""
    missing = {*_without_label(images, labels)}
    paired = {key: path for key, path in images.items() if key not in missing}
    return pair_samples(paired or images, labels, expected)


def pair_present(
    images: Mapping[str, Path], labels: Mapping[str, Path], expected: str
) -> tuple[Sample, ...]:
    """As :func:`pair_samples`, but images without a label become samples without a label."""
    _without_label(images, labels)
    return _samples(images, labels)


def _samples(images: Mapping[str, Path], labels: Mapping[str, Path]) -> tuple[Sample, ...]:
    return tuple(sorted(Sample(key, path, labels.get(key)) for key, path in images.items()))


def _without_label(images: Mapping[str, Path], labels: Mapping[str, Path]) -> Sequence[str]:
    """Sorted ids of the images without a label; an error where a label may be meant for one."""
    missing = sorted({*images} - {*labels})
    by_stem: dict[str, list[Path]] = {}
    for key, path in labels.items() if missing else ():
        by_stem.setdefault(without_ending(key), []).append(path)
    for key in missing:
        stem = without_ending(key)
        of_image = by_stem.get(key, [])
        if len(of_image) > 1:
            raise DataError(
                f"{images[key]} could have the label {of_image[0]} or {of_image[1]}; rename the "
                "one that is not meant"
            )
        of_stem = by_stem.get(stem, [])
        if stem != key and of_stem:
            others = [images[one] for one in images if without_ending(one) == stem and one != key]
            if others:
                one, other = images[key], others[0]
                raise DataError(
                    f"{of_stem[0]} could be the label of {one} or of {other}. If each has a label, "
                    f"call them {one.name}.png and {other.name}.png; if one has none, move it into "
                    "a folder of its own (--unlabeled DIR), and the label keeps its name"
                )
    return missing


def found_instead(folder: Path) -> str:
    """The content of a folder where files were expected, as the end of a sentence about it."""
    if not folder.is_dir():
        nearest = next((p for p in folder.parents if p.is_dir()), None)
        there = f"; {nearest} holds {_contents(nearest)}" if nearest else ""
        return f"{folder} is not a folder{there}"
    return f"{folder} holds {_contents(folder)}"


def _contents(folder: Path) -> str:
    try:
        entries = sorted(f"{p.name}/" if p.is_dir() else p.name for p in folder.iterdir())
    except OSError as error:
        return f"what cannot be listed ({error.strerror})"
    return named_first(entries) if entries else "nothing"
