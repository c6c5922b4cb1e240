"""What lies in a prepared copy of a data set, file by file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, final

from mixseg.data.arrays import Size
from mixseg.data.transforms import Interpolation
from mixseg.errors import DataError
from mixseg.files import read_bytes, read_json

MANIFEST = "prepared.json"
"""Name of the manifest in the folder of a copy."""

_FORM = 1


class Stamp(NamedTuple):
    """Tells whether a file of the original is still the one that was read.

    Attributes:
        bytes: Length of the file.
        mtime_ns: When it was changed last, nanoseconds since 1970.
    """

    bytes: int
    mtime_ns: int

    @staticmethod
    def of(path: Path) -> Stamp:
        """The stamp of a file as it is now; an OSError if there is none."""
        found = path.stat()
        return Stamp(found.st_size, found.st_mtime_ns)


@final
@dataclass(frozen=True)
class CopiedFile:
    """A file of a copy.

    Attributes:
        source: Path of the original, relative to the root of the data set.
        stamp: Of the original.
        source_size: Height and width of the original; None for a list or what cannot be read.
        size: Height and width of the copy; None as above.
        bytes: Length of the copy.
        sha256: Of the copy, in hexadecimal digits.
        problem: What is wrong with the original; such a file is copied as it is.
    """

    source: str
    stamp: Stamp
    source_size: Size | None
    size: Size | None
    bytes: int
    sha256: str
    problem: str = ""

    def is_intact(self, path: Path, original: Path) -> bool:
        """Whether the copy is as it was written, and the original as it was read."""
        try:
            return (
                Stamp.of(original) == self.stamp
                and path.stat().st_size == self.bytes
                and hashlib.sha256(read_bytes(path)).hexdigest() == self.sha256
            )
        except OSError:
            return False


@final
@dataclass(frozen=True)
class Origin:
    """What a copy was made from, and how; a folder holds copies of one origin only.

    Attributes:
        dataset: Name of the layout, or ``unlabeled``.
        root: Absolute path of the original.
        size: Height and width that images were brought to.
        compression: Of PNG images, 0 to 9.
        interpolation: How images were resized.
    """

    dataset: str
    root: str
    size: Size
    compression: int
    interpolation: Interpolation = "bilinear"


@final
@dataclass(frozen=True)
class Manifest:
    """The content of :data:`MANIFEST`.

    Attributes:
        origin: What the copy was made from.
        files: Path relative to the folder of the copy, with forward slashes -> its file.
    """

    origin: Origin
    files: Mapping[str, CopiedFile]

    def to_json(self) -> str:
        """A JSON object, the files sorted by their names."""
        files = {
            name: dataclasses.asdict(one) | {"stamp": one.stamp._asdict()}
            for name, one in sorted(self.files.items())
        }
        content = {"form": _FORM, **dataclasses.asdict(self.origin), "files": files}
        return json.dumps(content, indent=1) + "\n"


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None if there is none.

    Raises:
        DataError: It is damaged, or names a file outside of the folder.
    """
    path = folder / MANIFEST
    try:
        content = read_json(path)
        if content["form"] != _FORM:
            raise ValueError(f"its form is {content['form']!r}, and {_FORM} is known")
        origin = Origin(
            str(content["dataset"]),
            str(content["root"]),
            _size(content["size"]),
            int(content["compression"]),
            content.get("interpolation", "bilinear"),
        )
        files = {_below(name): _file(one) for name, one in content["files"].items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise DataError(
            f"{path}: is no manifest of a prepared copy ({error}); remove the folder, or give "
            "another one with --output"
        ) from error
    return Manifest(origin, files)


def _file(content: Mapping[str, Any]) -> CopiedFile:
    sizes = {
        name: None if content[name] is None else _size(content[name])
        for name in ("source_size", "size")
    }
    stamp = content["stamp"]
    return CopiedFile(
        source=str(content["source"]),
        stamp=Stamp(int(stamp["bytes"]), int(stamp["mtime_ns"])),
        bytes=int(content["bytes"]),
        sha256=str(content["sha256"]),
        problem=str(content["problem"]),
        **sizes,
    )


def _size(value: Any) -> Size:
    height, width = value
    return int(height), int(width)


def _below(name: str) -> str:
    # Files that are no longer needed are removed by these names.
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.as_posix() != name:
        raise ValueError(f"{name!r} is not a path below it")
    return name
