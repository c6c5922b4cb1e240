"""Which images of the training split keep their labels."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import final

import numpy as np

from mixseg.data.contract import SegmentationDataset
from mixseg.data.lists import match_entries, read_list
from mixseg.data.permutation_pickle import read_permutation
from mixseg.errors import DataError
from mixseg.files import write_atomically

_ALLOWED = (
    "a fraction such as 1/8 or 0.125, a number of images, 'full', a list file LABELED.txt, a pair "
    "LABELED.txt,UNLABELED.txt, or a permutation FILE.pkl@1/8"
)
# Bounded digits keep an absurd number from stalling the conversion.
_FRACTION = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_DECIMAL = re.compile(r"0?\.[0-9]{1,9}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_LOOKS_LIKE_SIZE = re.compile(r"[-+0-9./]+")

_PERMUTATION_NOTE = (
    "The permutation's numbers count the files of its authors in the order of their listing, here "
    "those sorted by id. For Cityscapes that listing was an unsorted directory walk, so the "
    "published split cannot be reproduced exactly."
)


@final
@dataclass(frozen=True)
class Split:
    """Labelled and unlabelled images of a training split.

    Attributes:
        labeled: Indices into the sorted ids, ascending.
        unlabeled: Indices into the sorted ids, ascending; none of them is in ``labeled``.
        digest: 12 hexadecimal digits that stand for the labelled ids and the two counts.
        spec: What was asked for.
        seed: Seed of the permutation; without meaning where a file gives the images.
        note: What a reader of results has to know about this split, or empty.
    """

    labeled: tuple[int, ...]
    unlabeled: tuple[int, ...]
    digest: str
    spec: str
    seed: int
    note: str = ""


def split_labeled(ids: Sequence[str], spec: str, seed: int) -> Split:
    """Choose the labelled images of a training split.

    A fraction or number takes the first images of a seeded permutation of the *sorted* ids, so it
    does not depend on the file system, and splits of one seed are nested. Fractions are rounded
    up, which gives the published counts (1/8 of 2975 is 372).

    Args:
        ids: Ids of the training split, in any order.
        spec: One of

            - ``1/8`` or ``0.125``: that share of the images;
            - ``372``: that many;
            - ``full`` or ``1/1``: all, none is left unlabelled;
            - ``LABELED.txt``: the images of a list (see :mod:`mixseg.data.lists`), the rest is
              unlabelled;
            - ``LABELED.txt,UNLABELED.txt``: the images of two lists, further ones are unused;
            - ``FILE.pkl@1/8``: that share of a pickled permutation, as ClassMix and DACS ship it.
        seed: Seed of the permutation.

    Raises:
        DataError: The size does not fit, the spec is none of these, or a file is unreadable,
            unsafe, or names images that are not in ``ids``.
    """
    if len(set(ids)) != len(ids):
        raise DataError("ids of a data set must differ")
    ordered = sorted(ids)
    note = ""
    unlabeled: set[int] | None = None
    if spec == "full" or _LOOKS_LIKE_SIZE.fullmatch(spec):
        count = labeled_count(spec, len(ordered))
        if seed < 0:
            raise DataError(f"seed of the split: {seed} is negative")
        labeled = set(np.random.default_rng(seed).permutation(len(ordered))[:count].tolist())
    elif spec.endswith(".pkl") or ".pkl@" in spec:
        name, _, size = spec.rpartition("@")
        if not name.endswith(".pkl"):
            raise DataError(f"labelled images {spec!r}: say how many, as in FILE.pkl@1/8")
        count = labeled_count(size, len(ordered))
        labeled = set(read_permutation(Path(name), len(ordered))[:count].tolist())
        note = _PERMUTATION_NOTE
    else:
        names = spec.split(",")
        if len(names) > 2 or not all(Path(name).suffix or "/" in name for name in names):
            raise DataError(f"labelled images {spec!r}: expected {_ALLOWED}")
        labeled = _read_indices(Path(names[0]), ordered)
        if not labeled:
            raise DataError(f"list file {names[0]} names no image")
        if len(names) == 2:
            unlabeled = _read_indices(Path(names[1]), ordered)
            both = sorted(labeled & unlabeled)
            if both:
                raise DataError(
                    f"{len(both)} images are in both {names[0]} and {names[1]}, the first is "
                    f"{ordered[both[0]]!r}"
                )
    if unlabeled is None:
        unlabeled = set(range(len(ordered))) - labeled
    chosen = tuple(sorted(labeled))
    return Split(
        labeled=chosen,
        unlabeled=tuple(sorted(unlabeled)),
        digest=_digest([ordered[index] for index in chosen], len(unlabeled)),
        spec=spec,
        seed=seed,
        note=note,
    )


def id_lines(dataset: SegmentationDataset, indices: Sequence[int]) -> str:
    """Ids of samples, one per line.

    Raises:
        DataError: An id cannot stand on a line of its own, or is not UTF-8.
    """
    ids = [dataset.samples[index].id for index in indices]
    for key in ids:
        if "\n" in key or key.endswith("\r"):
            raise DataError(f"{dataset.root}: rename the file {key!r}, it has a line break")
        if any("\ud800" <= letter <= "\udfff" for letter in key):
            raise DataError(f"{dataset.root}: rename the file {key!r}, its name is not UTF-8")
    return "".join(f"{key}\n" for key in ids)


def labeled_count(size: str, total: int) -> int:
    """Number of labelled images that a fraction, number or ``full`` stands for, rounded up.

    Raises:
        DataError: The size is not one, is not positive, or exceeds ``total``.
    """
    share = None
    if size == "full":
        return total
    if _NUMBER.fullmatch(size):
        if 1 <= int(size) <= total:
            return int(size)
        raise DataError(f"labelled images {size!r}: expected a number from 1 to {total}")
    if match := _FRACTION.fullmatch(size):
        numerator, denominator = int(match[1]), int(match[2])
        if 0 < numerator <= denominator:
            share = Fraction(numerator, denominator)
    elif _DECIMAL.fullmatch(size):
        share = Fraction(size)
    if not share:
        raise DataError(
            f"labelled images {size!r}: a share lies above 0 and is 1 at most, a number from 1 to "
            f"{total}; expected {_ALLOWED}"
        )
    # Exact: in floating point 0.07 * 100 is a little above 7 and would be rounded up to 8.
    return -(-share.numerator * total // share.denominator)


def write_split(run_dir: Path, dataset: SegmentationDataset, split: Split) -> None:
    """Record a split in a run's folder.

    ``labeled.txt`` and ``unlabeled.txt`` hold one sample id per line and can be given as
    ``labeled.txt,unlabeled.txt`` to get the same split again; ``split.json`` holds digest, counts,
    seed, spec and note, and is written last.

    Raises:
        DataError: An id cannot stand on a line of its own, or the folder cannot be written to.
    """
    try:
        for name, indices in (("labeled", split.labeled), ("unlabeled", split.unlabeled)):
            text = id_lines(dataset, indices)
            write_atomically(run_dir / f"{name}.txt", text)
        summary = {
            "dataset": dataset.name,
            "split": dataset.split,
            "digest": split.digest,
            "labeled": len(split.labeled),
            "unlabeled": len(split.unlabeled),
            "total": len(dataset),
            "seed": split.seed,
            "spec": split.spec,
            "note": split.note,
        }
        write_atomically(run_dir / "split.json", json.dumps(summary, indent=2) + "\n")
    except OSError as error:
        raise DataError(
            f"{error.filename or run_dir}: cannot be written: {error.strerror}"
        ) from error
    except UnicodeEncodeError as error:
        raise DataError(f"{dataset.root}: a file name is not Unicode: {error.object!r}") from error


def _read_indices(list_file: Path, ordered: Sequence[str]) -> set[int]:
    return set(match_entries(list_file, read_list(list_file), ordered))


def _digest(labeled: Sequence[str], unlabeled_count: int) -> str:
    content = "\n".join([f"{len(labeled)} {unlabeled_count}", *sorted(labeled)])
    return hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()[:12]
