"""Splits: which training images keep their labels, and which are held out for validation."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import final

import numpy as np

from mixseg.data.contract import SegmentationDataset
from mixseg.data.lists import match_entries, read_list, read_permutation
from mixseg.errors import DataError
from mixseg.files import write_atomically

_ALLOWED = (
    "a fraction such as 1/8 or 0.125, a number of images, 'full', a list file LABELED.txt, a pair "
    "LABELED.txt,UNLABELED.txt, or a permutation FILE.pkl@1/8"
)
_ALLOWED_HELD_OUT = "a fraction such as 1/5, a number of images, or a list file VAL.txt"
# Bounded digits keep an absurd number from stalling the conversion.
_FRACTION = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_DECIMAL = re.compile(r"0?\.[0-9]{1,9}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")  # 010 is eight to some readers
_LOOKS_LIKE_SIZE = re.compile(r"[-+0-9./]+")

_PERMUTATION_NOTE = (
    "The permutation's numbers count the files of its authors in the order of their listing, here "
    "those sorted by id. For Cityscapes that listing was an unsorted directory walk, so the "
    "published split cannot be reproduced exactly."
)


@final
@dataclass(frozen=True)
class Split:
    """Labeled and unlabeled images of a training split: ascending indices into the sorted ids."""

    labeled: tuple[int, ...]
    unlabeled: tuple[int, ...]  # none of them is in labeled
    digest: str  # 12 hexadecimal digits from the labeled ids, both counts, and the ids held out
    spec: str  # as given to split_labeled
    seed: int  # seed of the permutation; unused where a file gives the images
    note: str = ""  # a caveat for readers of results
    held_out: tuple[str, ...] = ()  # sorted ids of training images that are kept for validation

    def holding_out(self, ids: Sequence[str]) -> Split:
        """The same split, with these images kept for validation."""
        digest = _hashed([self.digest, *ids]) if ids else self.digest
        return dataclasses.replace(self, held_out=tuple(ids), digest=digest)

    def beside(self, other: Split) -> Split:
        """The same split of a source, with a digest that tells that of its target as well."""
        return dataclasses.replace(self, digest=_hashed([self.digest, other.digest]))


def hold_out(dataset: SegmentationDataset, spec: str, seed: int) -> SegmentationDataset:
    """The labeled images of a split that are kept for validation.

    Args:
        dataset: The split; its images without a label are never taken.
        spec: ``1/5`` or ``0.2``: that share of the labeled images, rounded up; ``20``: that many,
            drawn as in :func:`split_labeled`; ``VAL.txt``: the images of a list.
        seed: Seed of the permutation.

    Raises:
        DataError: No image has a label, the spec is none of these, or a list is unreadable or
            names other images.
    """
    given = f"data.val {spec!r}"
    samples = sorted(sample for sample in dataset.samples if sample.label is not None)
    ids = [sample.id for sample in samples]
    if not ids:
        raise DataError(
            f"{given}: no image of {dataset.name} {dataset.split!r} in {dataset.root} has a label "
            "that it could be validated by"
        )
    if _LOOKS_LIKE_SIZE.fullmatch(spec):
        chosen = _drawn(range(len(ids)), labeled_count(spec, len(ids), given), seed)
    elif "," not in spec and ".pkl" not in spec and _names_a_file(spec):
        chosen = _listed(spec, ids)
        if not chosen:
            raise DataError(f"{given}: the list names no image")
    else:
        raise DataError(f"{given}: expected {_ALLOWED_HELD_OUT}")
    kept = tuple(samples[index] for index in sorted(chosen))
    return dataclasses.replace(dataset, samples=kept, unpaired=())


def split_labeled(
    ids: Sequence[str],
    spec: str,
    seed: int,
    held_out: Collection[str] = (),
    bare: Collection[str] = (),
) -> Split:
    """Choose the labeled images of a training split.

    A fraction or number takes the first images of a seeded permutation of the *sorted* ids, so it
    does not depend on the file system, and splits of one seed are nested. Fractions are rounded
    up, which gives the published counts (1/8 of 2975 is 372).

    Args:
        ids: Ids of the training split, in any order.
        spec: One of

            - ``1/8`` or ``0.125``: that share of the images;
            - ``372``: that many;
            - ``full`` or ``1/1``: all, none is left unlabeled;
            - ``LABELED.txt``: the images of a list (see :mod:`mixseg.data.lists`), the rest is
              unlabeled;
            - ``LABELED.txt,UNLABELED.txt``: the images of two lists, further ones are unused;
            - ``FILE.pkl@1/8``: that share of a pickled permutation, as ClassMix and DACS ship it.
        seed: Seed of the permutation.
        held_out: Ids among them that are kept for validation, in neither part; sizes refer to the
            rest. Lists may name them.
        bare: Ids among them that have no label and are not to be drawn: they are unlabeled, and
            sizes do not refer to them either.

    Raises:
        DataError: The size does not fit, the spec is none of these, or a file is unreadable,
            unsafe, or names images that are not in ``ids``.
    """
    if len(set(ids)) != len(ids):
        raise DataError("ids of a data set must differ")
    ordered = sorted(ids)
    kept = set(held_out)
    withheld = {index for index, key in enumerate(ordered) if key in kept}
    rest = [index for index in range(len(ordered)) if index not in withheld]
    if not rest:
        raise DataError(
            f"all {len(ordered)} labeled images are held out for validation (data.val), none is "
            "left to train on"
        )
    without = set(bare)
    able = [index for index in rest if ordered[index] not in without]
    if not able:
        raise DataError(f"none of the {len(rest)} images to train on has a label")
    note = ""
    unlabeled: set[int] | None = None
    if spec == "full" or _LOOKS_LIKE_SIZE.fullmatch(spec):
        labeled = _drawn(able, labeled_count(spec, len(able)), seed)
    elif spec.endswith(".pkl") or ".pkl@" in spec:
        name, _, size = spec.rpartition("@")
        if not name.endswith(".pkl"):
            raise DataError(f"labeled images {spec!r}: say how many, as in FILE.pkl@1/8")
        count = labeled_count(size, len(able))
        permutation = read_permutation(Path(name), len(ordered)).tolist()
        drawable = set(able)
        labeled = set([index for index in permutation if index in drawable][:count])
        note = _PERMUTATION_NOTE
    else:
        names = spec.split(",")
        if len(names) > 2 or not all(map(_names_a_file, names)):
            raise DataError(f"labeled images {spec!r}: expected {_ALLOWED}")
        listed = _listed(names[0], ordered)
        labeled = listed - withheld
        if not labeled:
            held = " that is not held out for validation" if listed else ""
            raise DataError(f"list file {names[0]} names no image{held}")
        if len(labeled) < len(listed):
            note = (
                f"{len(listed - labeled)} of the {len(listed)} images of {names[0]} are held out "
                "for validation"
            )
        if len(names) == 2:
            unlabeled = _listed(names[1], ordered) - withheld
            both = sorted(labeled & unlabeled)
            if both:
                raise DataError(
                    f"{len(both)} images are in both {names[0]} and {names[1]}, the first is "
                    f"{ordered[both[0]]!r}"
                )
    if unlabeled is None:
        unlabeled = set(rest) - labeled
    chosen = tuple(sorted(labeled))
    return Split(
        labeled=chosen,
        unlabeled=tuple(sorted(unlabeled)),
        digest=_hashed([f"{len(chosen)} {len(unlabeled)}", *(ordered[i] for i in chosen)]),
        spec=spec,
        seed=seed,
        note=note,
    ).holding_out([ordered[index] for index in sorted(withheld)])


def _drawn(indices: Sequence[int], count: int, seed: int) -> set[int]:
    """The first indices of a seeded permutation."""
    if seed < 0:
        raise DataError(f"seed of the split: {seed} is negative")
    order = np.random.default_rng(seed).permutation(len(indices))
    return {indices[position] for position in order[:count].tolist()}


def _names_a_file(spec: str) -> bool:
    return bool(Path(spec).suffix) or "/" in spec


def _listed(list_file: str, ids: Sequence[str]) -> set[int]:
    path = Path(list_file)
    return set(match_entries(path, read_list(path), ids))


def _hashed(lines: Sequence[str]) -> str:
    content = "\n".join(lines)
    return hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def labeled_count(size: str, total: int, given: str | None = None) -> int:
    """Number of images out of ``total`` for a fraction, a number or ``full``, rounded up.

    Messages begin with ``given``, by default with the labeled images.

    Raises:
        DataError: The size is none of these, is not positive, or exceeds ``total``.
    """
    named = given or f"labeled images {size!r}"
    share = None
    if size == "full":
        return total
    if _NUMBER.fullmatch(size):
        if 1 <= int(size) <= total:
            return int(size)
        raise DataError(f"{named}: expected a number from 1 to {total}")
    if match := _FRACTION.fullmatch(size):
        numerator, denominator = int(match[1]), int(match[2])
        if 0 < numerator <= denominator:
            share = Fraction(numerator, denominator)
    elif _DECIMAL.fullmatch(size):
        share = Fraction(size)
    if not share:
        raise DataError(
            f"{named}: a share lies above 0 and is 1 at most, a number from 1 to {total}; "
            f"expected {_ALLOWED if given is None else _ALLOWED_HELD_OUT}"
        )
    # Exact: in floating point 0.07 * 100 is a little above 7 and would be rounded up to 8.
    return -(-share.numerator * total // share.denominator)


def id_lines(dataset: SegmentationDataset, indices: Sequence[int]) -> str:
    """Ids of samples, one per line; a DataError if one has a line break or is not UTF-8."""
    ids = [dataset.samples[index].id for index in indices]
    for key in ids:
        if "\n" in key or key.endswith("\r"):
            raise DataError(f"{dataset.root}: rename the file {key!r}, it has a line break")
        if any("\ud800" <= letter <= "\udfff" for letter in key):
            raise DataError(f"{dataset.root}: rename the file {key!r}, its name is not UTF-8")
    return "".join(f"{key}\n" for key in ids)


def write_split(
    run_dir: Path, dataset: SegmentationDataset, split: Split, unpaired: Sequence[Path] = ()
) -> None:
    """Record a split of a data set, and images left out without a label, in a run's folder.

    ``labeled.txt`` and ``unlabeled.txt`` hold one sample id per line and can be given as
    ``labeled.txt,unlabeled.txt`` to get the same split again; ``split.json`` holds digest, counts,
    seed, spec and note, and is written last.

    Raises:
        DataError: An id cannot stand on a line of its own, or the folder cannot be written to.
    """
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
        "held_out": len(split.held_out),
        "unpaired": [str(path) for path in unpaired],
    }
    try:
        write_atomically(run_dir / "labeled.txt", id_lines(dataset, split.labeled))
        write_atomically(run_dir / "unlabeled.txt", id_lines(dataset, split.unlabeled))
        write_atomically(run_dir / "split.json", json.dumps(summary, indent=2) + "\n")
    except OSError as error:
        raise DataError(
            f"{error.filename or run_dir}: cannot be written: {error.strerror}"
        ) from error
