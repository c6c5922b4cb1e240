"""Offline self-training: rounds of labeling all unlabeled images and training anew (thesis, 5.3.2).

Round 0 is a run of any method. Round r labels the unlabeled images by the better network of round
r - 1, class by class (Zou et al., 2018, CBST), and trains a network from the same initial weights
on true labels and pseudo-labels, each a stream of its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

from mixseg.config.effect import streams_of
from mixseg.config.resolve import resolve_settings
from mixseg.config.saved import changed_settings, with_absolute_paths
from mixseg.config.schema import to_flat
from mixseg.config.sections import Settings
from mixseg.config.values import NETWORKS
from mixseg.data.record import differences, digests, read_record
from mixseg.distributed import by_first, of_first, wait_for_all
from mixseg.errors import CheckpointError, ConfigError, DataError, MixsegError
from mixseg.evaluation.prediction import Predictor
from mixseg.evaluation.scores import Scores
from mixseg.files import FolderLock, read_bytes, read_json, write_atomically
from mixseg.registry import TERMS
from mixseg.training.checkpoint import MANIFEST
from mixseg.training.checks import check_settings
from mixseg.training.data import RunData, TrainingData
from mixseg.training.loop import OnProgress
from mixseg.training.precision import any_sizes, choose_device
from mixseg.training.pseudo_dataset import (
    TRAIN,
    VAL,
    Labeled,
    read_pseudo_record,
    write_pseudo_dataset,
)
from mixseg.training.run import resume, start
from mixseg.training.run_directory import is_blank
from mixseg.training.saved_network import (
    load_networks,
    load_state,
    newest_checkpoint,
    settings_of_run,
)
from mixseg.training.stages import epochs_in_steps

LOG = logging.getLogger("mixseg")

RECORD = "self_training.json"
"""File that says what a self-training was begun with."""

FREE = ("data.workers", "output", "name", "imports")
"""Settings on which what is computed does not depend."""


@final
@dataclass(frozen=True)
class Selection:
    """Which pixels get a pseudo-label: a share of those of each class, the most confident ones.

    Attributes:
        share: In round 1.
        growth: What each further round adds to it.
        most: What it grows up to.
    """

    share: float = 0.2
    growth: float = 0.05
    most: float = 0.5

    def of_round(self, number: int) -> float:
        """The share in a round, counted from 1."""
        return round(min(self.most, self.share + self.growth * (number - 1)), 9)


@final
@dataclass(frozen=True)
class Plan:
    """A self-training.

    Attributes:
        folder: Its folder; ``round-0`` and so on are runs in it, ``pseudo-1`` and so on the data
            sets that the rounds learn from.
        settings: Those of round 0.
        rounds: How many follow it.
        selection: Which pixels get a pseudo-label.
        run: A finished run that is round 0; None trains one.
        changes: Setting path -> value, in which the rounds differ from round 0.
        own_method: Whether rounds are trained by the method of round 0, with unlabeled images
            beside those with pseudo-labels, and not by supervised training.
    """

    folder: Path
    settings: Settings
    rounds: int
    selection: Selection
    run: Path | None = None
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    own_method: bool = False


class Round(NamedTuple):
    """A finished round: its run, network -> scores after the last step, and what
    :func:`mixseg.training.pseudo_dataset.write_pseudo_dataset` says of the labels that it learned
    from, None in round 0."""

    number: int
    path: Path
    scores: dict[str, Scores]
    pseudo: Mapping[str, Any] | None


Labeling = Callable[[int, int], None]
"""Called with the predictions done, and all of them."""


class Bars(NamedTuple):
    """Contexts that show how far a training and a labeling are."""

    training: Callable[[], AbstractContextManager[OnProgress]]
    labeling: Callable[[], AbstractContextManager[Labeling]]


def self_train(plan: Plan, bars: Bars) -> tuple[list[Round], int]:
    """Go through all rounds that are not finished yet; collective.

    Returns:
        The finished rounds, and 0 or what an interrupted process exits with.

    Raises:
        ConfigError: Settings do not fit, or the folder is that of another self-training.
        DataError: Nothing is unlabeled, or files have changed.
    """
    own = with_absolute_paths(plan.settings)
    if own.stages:
        raise ConfigError(
            "stages count passes over labeled images, of which self-training has more in every "
            "round: say how long a round is with --iterations, and --stages []"
        )
    data = _data_with_unlabeled(own)
    own = epochs_in_steps(own, len(data.split.labeled))
    if plan.run is None:
        check_settings(own)
    else:
        _check_finished(plan.run, own, data)
    plan = dataclasses.replace(plan, settings=own, folder=plan.folder.absolute())
    if plan.rounds:
        check_settings(settings_of_round(plan, 1))
    rounds: list[Round] = []
    with _locked(plan.folder):
        by_first(lambda: _begin(plan, data))
        path = plan.run
        if path is None:
            path = plan.folder / "round-0"
            first = dataclasses.replace(own, output=str(plan.folder), name=path.name)
            if code := _trained(path, first, bars):
                return rounds, code
        rounds.append(Round(0, path, _last_scores(path), None))
        for number in range(1, plan.rounds + 1):
            pseudo = _labels(plan, number, rounds[-1], data, bars)
            path = plan.folder / f"round-{number}"
            if code := _trained(path, settings_of_round(plan, number), bars):
                return rounds, code
            rounds.append(Round(number, path, _last_scores(path), pseudo))
    return rounds, 0


# Settings and data --------------------------------------------------------------------------------


def settings_of_round(plan: Plan, number: int) -> Settings:
    """The settings of a round from 1 on, with pseudo-labels as a stream of their own.

    Of one domain images with pseudo-labels are the source and those with true labels the labeled
    target; of two domains the source stays, and images with pseudo-labels are the labeled target,
    together with those target images that have true labels. Both streams go through the geometry of
    the images that they replace, and batches have as many images as in round 0.

    Raises:
        ConfigError: Settings do not fit.
    """
    own, pseudo = plan.settings, plan.folder / f"pseudo-{number}"
    data = own.data
    values = to_flat(own) | {
        "output": str(plan.folder),
        "name": f"round-{number}",
        # The number of steps is known by now, and is that of round 0.
        "training.epochs": None,
        "schedule.warmup_epochs": None,
        "data.split_seed": own.split_seed,
    }
    values |= _of_own_method(own, pseudo) if plan.own_method else _of_supervised(own)
    if own.two_domains:
        both = data.batch_target if own.labeled_target else 0
        values |= {
            "source_domain.root": str(RunData(own).source_root()),
            "data.dataset": "folder",
            "data.root": str(pseudo),
            "data.train_split": TRAIN,
            "data.val_split": VAL,
            "data.val": None,
            "data.labeled_target": "full",
            "data.batch_target": data.batch_unlabeled + both,
        }
    else:
        values |= {
            "source_domain.dataset": "folder",
            "source_domain.root": str(pseudo),
            "source_domain.split": TRAIN,
            "source_domain.labeled": "full",
            "source_domain.resize": data.resize,
            "source_domain.scale": data.scale,
            "source_domain.interpolation": "bilinear",
            "source_domain.class_map": None,
            "data.labeled_target": data.labeled,
            "data.batch_labeled": data.batch_unlabeled,
            "data.batch_target": data.batch_labeled,
        }
    return resolve_settings([], values | dict(plan.changes))


def _of_supervised(own: Settings) -> dict[str, Any]:
    kept = [
        name for name in own.terms if not getattr(TERMS.signature(name), "needs_unlabeled", True)
    ]
    return {
        "method": "supervised",
        "data.unlabeled": None,
        "targets.alignment": "none",
        "terms": tuple(kept),
    }


def _of_own_method(own: Settings, pseudo: Path) -> dict[str, Any]:
    if own.method not in ("semi_supervised", "domain_adaptation"):
        raise ConfigError(
            f"--own-method: method {own.method} takes no labels but its own; rounds by it are "
            "those without this flag, or of semi_supervised and domain_adaptation"
        )
    if not own.two_domains:
        # The semi-supervised step with one labeled stream more.
        among = own.options.get("mixing.pasted_from", "unlabeled") == "unlabeled"
        return {
            "method": "domain_adaptation",
            "mixing.domains": "intra" if among else "inter",
            "mixing.pasted_from": "both",
        }
    if own.targets.alignment == "target":
        raise ConfigError(
            "--own-method: targets.alignment target counts labels of unlabeled images, which have "
            "none in the rounds; give shares in a file"
        )
    return {"data.unlabeled": str(pseudo / "images" / TRAIN)}


def _data_with_unlabeled(own: Settings) -> TrainingData:
    """The data of round 0 with its unlabeled images, whether its method takes them or not."""
    # Not mixed with a source, whose images may have another size then.
    taking = {
        "method": "domain_adaptation" if own.two_domains else "semi_supervised",
        "mixing.domains": "intra",
        "targets.alignment": "none",
        "supervised_loss.name": "cross-entropy",
    }
    settings = resolve_settings([], to_flat(own) | taking)
    data = RunData(settings).training()
    if not data.unlabeled_indices:
        raise DataError(
            "self-training needs unlabeled images, and there are none: use fewer labels"
        )
    return data


def _check_finished(run: Path, own: Settings, data: TrainingData) -> None:
    """Refuse a run that has not ended, or whose data have changed."""
    if not (run / "summary.json").is_file():
        raise ConfigError(
            f"{run} has not come to its end, or is no run: it has no summary.json. Go on with it "
            "by --resume first"
        )
    kept = load_state(run)
    if kept.get("objects"):
        raise ConfigError(
            f"{run} was given objects from Python ({', '.join(map(str, kept['objects']))}), which "
            "its settings do not name; the rounds after it would be trained without them"
        )
    now = dict(data.record)
    if own.two_domains and "unlabeled" not in streams_of(to_flat(own)):
        del now["unlabeled"]  # a run on the source alone does not list them
    if found := differences(kept["data"], now, read_record(run)):
        raise ConfigError(
            f"{run}: the data are not those that it was trained on ({'; '.join(found)}); bring "
            "them back"
        )


# The folder ---------------------------------------------------------------------------------------


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    def lock() -> FolderLock:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return FolderLock(folder)
        except BlockingIOError as error:
            raise MixsegError(f"{folder}: another process is self-training in it") from error
        except OSError as error:
            raise MixsegError(f"{folder}: cannot be used: {error.strerror}") from error

    held = by_first(lock)
    try:
        yield
    finally:
        if held is not None:
            held.close()


def _begin(plan: Plan, data: TrainingData) -> None:
    """Write what a self-training is begun with, or refuse to go on with another one."""
    path = plan.folder / RECORD
    record = json.loads(
        json.dumps(
            {
                "run": None if plan.run is None else _identity(plan.run),
                "settings": to_flat(plan.settings),
                "changes": dict(plan.changes),
                "selection": dataclasses.asdict(plan.selection) | {"own_method": plan.own_method},
                "data": digests(data.record),
            }
        )
    )
    if not path.exists():
        if any(not one.name.startswith(".") for one in plan.folder.iterdir()):
            raise ConfigError(
                f"{plan.folder} exists already and is no self-training; choose another --name"
            )
        write_atomically(path, json.dumps(record, indent=1))
        return
    try:
        kept = read_json(path)
        found = changed_settings(kept["settings"], record["settings"], FREE)
        for part in ("changes", "selection", "run"):
            old, new = kept[part] or {}, record[part] or {}
            found += [
                f"{part} {key}: {old.get(key)} -> {new.get(key)}"
                for key in sorted({*old, *new} - {*FREE})
                if old.get(key) != new.get(key)
            ]
        changed_data = differences(kept["data"], data.record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: damaged ({error!r}); choose another --name") from error
    if found:
        raise ConfigError(
            f"{plan.folder} was begun with other settings ({'; '.join(found)}). Give those to go "
            "on with it, or choose another --name"
        )
    if changed_data:
        raise ConfigError(
            f"{plan.folder}: the data have changed since it was begun ({'; '.join(changed_data)}). "
            "Bring them back, or choose another --name"
        )


def _identity(run: Path) -> dict[str, Any]:
    """A run and a digest of what its newest checkpoint holds."""
    checkpoint = newest_checkpoint(run)
    digest = hashlib.sha256(read_bytes(checkpoint / MANIFEST)).hexdigest()
    return {"path": str(run.absolute()), "checkpoint": checkpoint.name, "sha256": digest}


# Rounds -------------------------------------------------------------------------------------------


def _trained(path: Path, settings: Settings, bars: Bars) -> int:
    """Train the run of a round, or go on with it, unless it is finished; gives its exit code."""
    if _by_sight_of_first(lambda: (path / "summary.json").is_file()):
        flat = to_flat(settings)
        if changes := changed_settings(to_flat(settings_of_run(path)), flat, FREE):
            raise ConfigError(
                f"{path} was made with other settings ({'; '.join(changes)}); delete it to train "
                "it again"
            )
        return 0
    begun = _by_sight_of_first(lambda: path.exists() and not is_blank(path))
    with bars.training() as on_progress:
        if begun:
            outcome, _ = resume(path, to_flat(settings), on_progress=on_progress)
        else:
            outcome, _ = start(settings, on_progress)
    wait_for_all()  # the first process writes the summary last
    return 0 if outcome.scores else outcome.exit_code


def _labels(
    plan: Plan, number: int, before: Round, data: TrainingData, bars: Bars
) -> Mapping[str, Any]:
    """The record of the pseudo-labels of a round, which are written unless they are there."""
    path, own = plan.folder / f"pseudo-{number}", plan.settings
    name = better_network(before.scores)
    about = {
        "network": name,
        "miou": {one: scores.miou for one, scores in before.scores.items()},
        "of": _identity(before.path),
    }
    if _by_sight_of_first(path.exists):
        record = read_pseudo_record(path)
        if record.get("of") != about["of"]:
            raise DataError(
                f"{path}: its labels are those of another network than {before.path} has. Delete "
                "the folder and the rounds from it on: the same command then makes them anew"
            )
        return record
    saved = load_networks(before.path, name)
    for problem in saved.problems:
        LOG.warning(f"passed over: {problem}")
    if saved.classes.names != data.classes.names:
        raise ConfigError(f"{before.path}: its network has other classes than the data")
    share = plan.selection.of_round(number)
    LOG.info(
        f"round {number}: the {name} of {before.path.name} labels {len(data.unlabeled_indices)} "
        f"images ({_described(before.scores)}); {100 * share:g} % of each class count"
    )
    device = choose_device(own.training.device)
    predictor = Predictor(
        saved.networks[name],
        data.classes,
        own.data.resize,
        device=device,
        autocast=saved.place(name, device).autocast,
    )
    labeled: list[Labeled] = []
    if own.two_domains:
        # The source is another one: this data set stands for the whole target.
        labeled.append(Labeled(VAL, "", data.val, range(len(data.val))))
        if data.target is not None and data.target_split is not None:
            labeled.append(Labeled(TRAIN, "labeled/", data.target, data.target_split.labeled))
    with bars.labeling() as on_progress, any_sizes():
        record = write_pseudo_dataset(
            path,
            predictor,
            data.unlabeled,
            data.unlabeled_indices,
            share,
            about,
            labeled=labeled,
            skip_bad=own.data.skip_bad,
            on_progress=on_progress,
        )
    LOG.info(f"round {number}: {describe_labels(record)}")
    return record


def better_network(scores: Mapping[str, Scores]) -> str:
    """The network with the higher mIoU in the validation after the last step, of equal ones the
    averaged one."""
    return max(reversed(NETWORKS), key=lambda name: scores[name].miou if name in scores else -1.0)


def describe_labels(record: Mapping[str, Any]) -> str:
    """How many pixels have pseudo-labels, and how many of them are right, where that is known."""
    predicted, counted = sum(record["predicted"]), sum(record["counted"])
    line = f"{100 * counted / predicted:.1f} % of the pixels of {record['images']} images labeled"
    if record["accuracy"] is not None:
        line += (
            f", {100 * record['accuracy']:.2f} % of them right "
            f"({100 * record['accuracy_of_all']:.2f} % of all predictions)"
        )
    return line


def _described(scores: Mapping[str, Scores]) -> str:
    return ", ".join(f"{name} mIoU {100 * one.miou:.2f}" for name, one in scores.items())


def _last_scores(path: Path) -> dict[str, Scores]:
    try:
        last = read_json(path / "summary.json")["last"]
        scores = {str(name): Scores.from_json(one) for name, one in last.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path / 'summary.json'}: damaged: {error}. Delete this file: the same command then "
            "goes on with the run from its last checkpoint, and writes it anew"
        ) from error
    if not scores.keys() & {*NETWORKS}:
        raise CheckpointError(f"{path}: none of its networks can be loaded: {', '.join(scores)}")
    return scores


def _by_sight_of_first(look: Callable[[], bool]) -> bool:
    """What the first process sees; on a network drive others may not yet."""
    return bool(of_first("seen" if look() else ""))
