"""What ``mixseg figures`` does with its flags: checks, opens what is needed, draws, writes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import final

from rich.console import Console

from mixseg.analysis.figures import FIGURES, FigureKind
from mixseg.analysis.figures.opening import (
    open_data_of,
    open_datasets,
    open_logs,
    open_networks,
)
from mixseg.analysis.figures.request import Request, ShownDataset, ShownRun
from mixseg.data.class_maps import built_in_map
from mixseg.errors import ConfigError, unknown_name
from mixseg.files import check_unused, write_atomically
from mixseg.terminal import progress_bar

LOG = logging.getLogger("mixseg")


@final
@dataclass(frozen=True)
class Options:
    """The flags of the command; None and empty ones were not given."""

    names: Sequence[str]
    output: str
    overwrite: bool = False
    device: str = "auto"
    dataset: Sequence[str] = ()
    roots: Sequence[str] = ()
    split: str | None = None
    runs: Sequence[str] = ()
    seed: int | None = None
    images: int | None = None
    ids: Sequence[str] = ()
    source: str | None = None
    source_root: str | None = None
    sigmas: Sequence[float] = ()
    threshold: float | None = None
    temperatures: Sequence[float] = ()
    logits: Sequence[float] = ()
    pixel: tuple[int, ...] | None = None
    network: str | None = None


_OWN_FLAGS = frozenset().union(*(kind.flags for kind in FIGURES.values()))


def draw_all(options: Options, console: Console) -> Iterator[Path]:
    """Draw figures and write them; what can be refused is refused before anything is opened.

    Yields:
        The files, as they are written.

    Raises:
        ConfigError: A name is unknown, a flag has no effect or a value is out of range, or a file
            exists already.
        DataError: A data set or a run is not as the figure needs it.
    """
    names = list(dict.fromkeys(options.names))
    for name in names:
        if name not in FIGURES:
            raise ConfigError(unknown_name("figure", name, FIGURES))
    _check_flags(options, names)
    _check_values(options)
    folder = Path(options.output).expanduser()
    _make(folder)
    files = {name: _files(folder, name, FIGURES[name]) for name in names}
    check_unused([path for one in files.values() for path in one], overwrite=options.overwrite)
    for name in names:
        kind = FIGURES[name]
        with progress_bar(console, name) as advance:
            drawn = kind.draw(_request(kind, options, advance))
        contents = [drawn.png, drawn.csv, drawn.svg]
        for path, content in zip(files[name], contents, strict=False):
            assert content is not None
            write_atomically(path, content)
            yield path


def _files(folder: Path, name: str, kind: FigureKind) -> list[Path]:
    endings = ("png", "csv", "svg") if kind.is_chart else ("png", "csv")
    return [folder / f"{name}.{ending}" for ending in endings]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output {folder}: cannot be made: {error.strerror}") from error


def _check_flags(options: Options, names: Sequence[str]) -> None:
    """Refuse a flag that no figure of the command takes: whoever types it means it to act."""
    kinds = [FIGURES[name] for name in names]
    taken = frozenset().union(*(kind.flags for kind in kinds))
    given = {
        entry.name.replace("_", "-"): getattr(options, entry.name) for entry in fields(options)
    }
    for flag in sorted(_OWN_FLAGS - taken):
        if given[flag] not in (None, ()):
            takers = ", ".join(name for name, kind in FIGURES.items() if flag in kind.flags)
            raise ConfigError(f"--{flag} does nothing for {', '.join(names)}; it is for {takers}")
    for name, kind in zip(names, kinds, strict=True):
        fewest, most = kind.runs
        if len(options.runs) < fewest:
            raise ConfigError(f"{name} is drawn of a run: give it with --run runs/NAME")
        if most and len(options.runs) > most:
            raise ConfigError(f"{name}: --run takes at most {most}, found {len(options.runs)}")
        if kind.datasets and len(options.dataset) > kind.datasets:
            raise ConfigError(
                f"{name}: --dataset takes at most {kind.datasets}, found {len(options.dataset)}"
            )
    if options.runs and not any(kind.runs[1] for kind in kinds):
        raise ConfigError(f"--run does nothing for {', '.join(names)}")
    if not any(kind.datasets for kind in kinds):
        for flag in ("dataset", "roots", "split"):
            if getattr(options, flag):
                shown = {"roots": "data-root"}.get(flag, flag)
                raise ConfigError(f"--{shown} does nothing for {', '.join(names)}")
    if options.roots and not options.dataset:
        raise ConfigError("--data-root needs --dataset NAME, to know how the folder is laid out")
    if options.logits and options.runs and names == ["temperatures"]:
        raise ConfigError("--logits and --run both say what the logits are; give one of them")


def _check_values(options: Options) -> None:
    for flag in ("sigmas", "temperatures"):
        values = getattr(options, flag)
        if len(set(values)) != len(values):
            raise ConfigError(f"--{flag}: one is there twice")
    if options.logits and len(options.logits) < 2:
        raise ConfigError("--logits: expected a number for each of two or more classes")
    if options.pixel is not None and len(options.pixel) != 2:
        raise ConfigError("--pixel: expected ROW,COLUMN, for example 60,100")


def _request(
    kind: FigureKind,
    options: Options,
    advance: Callable[[int, int], None],
) -> Request:
    """What one figure is drawn from; only what it needs is opened."""
    runs: tuple[ShownRun, ...] = ()
    datasets: tuple[ShownDataset, ...] = ()
    paths = [Path(path).expanduser() for path in options.runs]
    if kind.log:
        runs = open_logs(paths)
    elif kind.networks and paths and not options.logits:
        runs, saved = open_networks(paths, options.network, options.device)
        assert saved is not None
        given = (
            (options.dataset[0] if options.dataset else None),
            (options.roots[0] if options.roots else None),
        )
        datasets = (open_data_of(saved, *given, options.split),)
    if kind.datasets and not kind.networks:
        split = options.split or "train"
        datasets = open_datasets(options.dataset or ["demo"], options.roots, split)
    source = None
    if "source" in kind.flags:
        source = _source(options, datasets[0])
    default = Request()
    return Request(
        datasets=datasets,
        source=source,
        runs=runs,
        seed=options.seed or 0,
        images=options.images or default.images,
        ids=tuple(options.ids),
        threshold=options.threshold,
        sigmas=tuple(options.sigmas) or default.sigmas,
        temperatures=tuple(options.temperatures) or default.temperatures,
        logits=tuple(options.logits) or None,
        pixel=None if options.pixel is None else (options.pixel[0], options.pixel[1]),
        advance=advance,
    )


def _source(options: Options, target: ShownDataset) -> ShownDataset | None:
    """What is pasted on the target; without the flag, built-in renderings where a map leads."""
    name = options.source or "demo-render"
    roots = [] if options.source_root is None else [options.source_root]
    flags = ("--source", "--source-root")
    (source,) = open_datasets([name], roots, "train", flags)
    if built_in_map(source.dataset.classes, target.dataset.classes) is not None:
        return source
    if options.source is not None:
        raise ConfigError(
            f"--source {name}: no class map is built in from its classes to those of {target.title}"
        )
    LOG.warning(f"no class map leads from built-in scenes to {target.title}: no row of two domains")
    return None
