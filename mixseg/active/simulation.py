"""Active learning where labels exist already: select, take the labels, train again, and compare."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, final

from mixseg.active.candidates import Candidates, as_trained, labels_of
from mixseg.active.how import How, Strategy
from mixseg.active.selection import Networks, Precision, select
from mixseg.config.resolve import resolve_settings
from mixseg.config.saved import with_absolute_paths
from mixseg.config.schema import to_flat
from mixseg.data.splits import id_lines
from mixseg.errors import ConfigError, DataError, MixsegError
from mixseg.evaluation.scores import Scores
from mixseg.files import FolderLock, read_json, read_text, write_atomically
from mixseg.randomness import derive_seed
from mixseg.tables import MISSING, csv_lines, markdown_table
from mixseg.terminal import csv_cell
from mixseg.training.data import RunData
from mixseg.training.loop import OnProgress
from mixseg.training.run import resume, start
from mixseg.training.saved_network import load_networks, settings_of_run

RECORD = "simulation.json"
"""File that tells what a simulation is made of, for the call that goes on with it."""

NETWORKS = ("teacher", "average", "student")
"""Whose score counts, the first that there is."""


class Result(NamedTuple):
    """A trained network: what it was trained on, and its score.

    Attributes:
        strategy: That chose the images; empty for those that the run began with.
        seed: Of the training.
        round: 0 before any choice.
        labeled: Number of labeled images.
        miou: In [0, 1], on the validation images of the run.
        run: Its folder.
    """

    strategy: str
    seed: int
    round: int
    labeled: int
    miou: float
    run: Path


class _StopError(Exception):
    """A training was interrupted; it has saved itself."""

    def __init__(self, code: int) -> None:
        self.code = code


@final
@dataclass
class Simulation:
    """Rounds of choosing and training from the labeled images of a run.

    In each round, a strategy chooses images by the networks of its last round, their labels join
    the labeled images, and a network is trained from the beginning with the settings of the run.
    Every training is a run of its own in the folder, beside the list of its labeled images: what is
    there is not done again.

    Attributes:
        run: A run that has ended; its own score is that of round 0 for its seed.
        folder: Of the runs, lists and tables.
        how: How images are chosen, with the budget of each round; strategy and seed are replaced.
        strategies: Names of those that are compared.
        rounds: Rounds after round 0.
        seeds: Number of trainings of each kind: the seed of the run and the ones after it.
        progress: Makes the context of a training, which gives what is called with its steps.
        say: Told what is done.
        device: Where networks choose images.
        precision: In which they do.
        results: What there is so far.
    """

    run: Path
    folder: Path
    how: How
    strategies: Sequence[Strategy]
    rounds: int
    seeds: int
    progress: Callable[[], AbstractContextManager[OnProgress]]
    say: Callable[[str], None]
    device: str = "auto"
    precision: Precision = "auto"
    results: list[Result] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Open the data, and refuse what cannot be simulated."""
        own = settings_of_run(self.run)
        if not (self.run / "summary.json").is_file():
            raise ConfigError(
                f"{self.run}: has no summary.json, whose score is the first of a simulation: give "
                "the folder of a run that has ended"
            )
        if "," in str(self.folder.absolute()):
            raise ConfigError(f"--output {self.folder}: a comma would part the names of two lists")
        fixed = {"data.split_seed": own.split_seed}
        settings = resolve_settings([], to_flat(as_trained(own, self.run)) | fixed)
        self.settings = with_absolute_paths(settings)
        data = RunData(self.settings).training()
        labels = labels_of(self.settings, data)
        if labels is None:
            raise ConfigError(
                f"{self.run}: --simulate adds labels to those of the target, of which its settings "
                "take none (data.labeled_target)"
            )
        self.labels, self.digest = labels, data.split.digest
        samples = labels.dataset.samples
        there = sum(samples[index].label is not None for index in labels.free)
        # A method with an unlabeled stream needs an image to be left.
        takes = "unlabeled" in RunData(settings).streams and settings.data.unlabeled is None
        asked = self.rounds * self.how.budget
        if asked > there or asked + takes > len(labels.free):
            raise ConfigError(
                f"--rounds {self.rounds} of --budget {self.how.budget} take {asked} labels, but "
                f"{there} images of {labels.dataset.root} are left that have one"
                + (", and one has to stay unlabeled" if takes else "")
            )

    def __call__(self) -> int:
        """Do what is not done yet, and write the tables after each training; gives an exit code.

        Raises:
            ConfigError: The folder has a simulation of another kind.
            MixsegError: Another process uses the folder.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FolderLock(self.folder)
        except BlockingIOError as error:
            raise MixsegError(f"{self.folder}: another process simulates in this folder") from error
        except OSError as error:
            raise ConfigError(
                f"--output {self.folder}: cannot be used: {error.strerror}"
            ) from error
        try:
            self._check_record()
            for result in self._results():
                self.results.append(result)
                kind = result.strategy or "labels of the run"
                self.say(
                    f"{kind}, seed {result.seed}: {result.labeled} labeled images, "
                    f"mIoU {100 * result.miou:.2f}"
                )
                self._write()
        except _StopError as stop:
            self.say("stopped; the same command goes on with it")
            return stop.code
        finally:
            lock.close()
        return 0

    def _check_record(self) -> None:
        """Refuse to go on with a simulation whose lists were chosen in another way."""
        path = self.folder / RECORD
        left_out = {"strategy", "batch_size"}
        record = dataclasses.asdict(self.how) | {
            "run": str(self.run.resolve()),
            "labeled": self.digest,
        }
        record = {key: value for key, value in record.items() if key not in left_out}
        if not path.is_file():
            if any(self.folder.iterdir()):
                raise ConfigError(
                    f"--output {self.folder}: is not empty and has no simulation to go on with"
                )
            write_atomically(path, json.dumps(record, indent=1))
            return
        try:
            kept = read_json(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: damaged: {error}") from error
        changes = [
            f"{key}: {kept.get(key)} -> {record[key]}"
            for key in record
            if kept.get(key) != record[key]
        ]
        if changes:
            raise ConfigError(
                f"{self.folder} has a simulation with others ({'; '.join(changes)}); give another "
                "--output. Rounds, seeds and strategies may be added"
            )

    def _results(self) -> Iterator[Result]:
        """Every network, trained if it is not there; seed by seed, so that tables are whole."""
        known = self.labels.labeled
        for seed in range(self.settings.seed, self.settings.seed + self.seeds):
            first = self.run
            if seed != self.settings.seed:
                first = self._trained(f"seed{seed}", known, seed)
            yield self._result("", seed, 0, len(known), first)
            last = dict.fromkeys(self.strategies, (first, known))
            for number in range(1, self.rounds + 1):
                for strategy in self.strategies:
                    before, labeled = last[strategy]
                    name = f"{strategy}-seed{seed}-round{number}"
                    labeled = self._labeled(name, strategy, seed, number, before, labeled)
                    last[strategy] = self._trained(name, labeled, seed), labeled
                    yield self._result(strategy, seed, number, len(labeled), last[strategy][0])

    def _labeled(
        self,
        name: str,
        strategy: Strategy,
        seed: int,
        number: int,
        before: Path,
        labeled: tuple[int, ...],
    ) -> tuple[int, ...]:
        """The labeled images of a round: those of its list, or those that are chosen now."""
        _, train, _, free = self.labels
        path = self.folder / f"{name}.txt"
        places = {sample.id: index for index, sample in enumerate(train.samples)}
        if path.is_file():
            ids = read_text(path).split("\n")[:-1]
            if set(labeled) < {places.get(key, -1) for key in ids} <= set(places.values()):
                return tuple(places[key] for key in ids)
            raise DataError(
                f"{path}: is not a list of the images before and further ones; delete it and the "
                "run of its name"
            )
        able = (index for index in free if train.samples[index].label is not None)
        taken = set(labeled)
        left = tuple(index for index in able if index not in taken)
        # What is labeled by now counts as chosen.
        labels = self.labels._replace(labeled=labeled)
        how = dataclasses.replace(
            self.how, strategy=strategy, seed=derive_seed(self.how.seed, seed, number)
        )
        networks = None
        if strategy != "random":
            networks = Networks.of(load_networks(before, "both"), self.device, self.precision)
        self.say(f"{name}: choosing {how.budget} of {len(left)} images")
        chosen = select(networks, Candidates(train, left, labels), how).chosen
        write_atomically(path, id_lines(train, (*labeled, *chosen)))
        return *labeled, *chosen

    def _trained(self, name: str, labeled: tuple[int, ...], seed: int) -> Path:
        """The run of a name, trained to its end."""
        path = self.folder / name
        if (path / "summary.json").is_file():
            return path
        listed = self.folder / f"{name}.txt"
        own: dict[str, Any] = {"seed": seed, "name": name, "output": str(self.folder.absolute())}
        if labeled:
            own[self.labels.setting] = str(listed.absolute())
            write_atomically(listed, id_lines(self.labels.dataset, labeled))
        with self.progress() as on_progress:
            if (path / "config.yaml").is_file():
                outcome, _ = resume(path, {}, on_progress=on_progress)
            else:
                outcome, _ = start(resolve_settings([], to_flat(self.settings) | own), on_progress)
        if outcome.exit_code:
            raise _StopError(outcome.exit_code)
        return path

    def _result(self, strategy: str, seed: int, number: int, labeled: int, run: Path) -> Result:
        path = run / "summary.json"
        try:
            last = read_json(path)["last"]
            scores = Scores.from_json(next(last[name] for name in NETWORKS if name in last))
        except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
            raise DataError(
                f"{path}: damaged: {error}. Delete this file: the same command then goes on with "
                "the run from its last checkpoint, and writes it anew"
            ) from error
        return Result(strategy, seed, number, labeled, scores.miou, run)

    def _write(self) -> None:
        lines = markdown_table(table(self.results), numbers=True)
        write_atomically(self.folder / "results.csv", csv_of(self.results))
        write_atomically(self.folder / "results.md", lines)


def csv_of(results: Sequence[Result]) -> str:
    """A line for each trained network."""
    lines: list[Sequence[object]] = [Result._fields]
    lines += [(*one[:4], f"{100 * one.miou:.4f}", csv_cell(str(one.run))) for one in results]
    return csv_lines(lines)


def table(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """A line for each number of labels, a column for each strategy: mIoU in percent.

    It is the mean over seeds, with the standard deviation (n - 1) where there are several.
    """
    strategies = list(dict.fromkeys(one.strategy for one in results if one.strategy))
    lines = [("labeled images", *strategies)]
    for labeled in sorted({one.labeled for one in results}):
        cells = []
        for strategy in strategies:
            found = [
                100 * one.miou
                for one in results
                if one.labeled == labeled and one.strategy in ("", strategy)
            ]
            cells.append(_mean(found))
        lines.append((str(labeled), *cells))
    return lines


def _mean(values: Sequence[float]) -> str:
    if not values:
        return MISSING
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"
