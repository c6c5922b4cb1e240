"""mixseg from Python: train, resume, load, predict and evaluate; see docs/python.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from mixseg.config.effect import method_of
from mixseg.config.flags import SHORT_FLAGS
from mixseg.config.presets import configuration_files, settings_from
from mixseg.config.schema import schema
from mixseg.config.values import Size
from mixseg.data.contract import ClassSet, SegmentationDataset
from mixseg.data.from_python import MapStyle, from_python
from mixseg.errors import ConfigError, unknown_name
from mixseg.evaluation.evaluator import evaluate as evaluate_network
from mixseg.evaluation.inference import InferenceMode
from mixseg.evaluation.prediction import Predictor
from mixseg.evaluation.scores import Scores
from mixseg.models import SegmentationModel
from mixseg.plugins import import_parts
from mixseg.registry import METHODS, PYTHON
from mixseg.training.compared import open_compared
from mixseg.training.data import RunData
from mixseg.training.from_python import Objects
from mixseg.training.loop import OnProgress, Outcome
from mixseg.training.precision import choose_device
from mixseg.training.run import resume as resume_run
from mixseg.training.run import start
from mixseg.training.saved_network import load_networks

PARTS = {
    "augment": "augment",
    "consistency": "consistency",
    "labeled_mixer": "labeled_mix",
    "loss": "supervised_loss",
    "mixer": "mixer",
    "network": "network",
    "style": "style",
    "weighting": "weighting",
}
"""Keyword that may be an object -> the name by which methods ask for it."""

DATA = {"dataset": "train", "source": "source", "unlabeled": "unlabeled", "val": "val"}
"""Keyword that may be a map-style data set -> its place among :class:`Objects`."""


@final
class Network(nn.Module):
    """A trained network with its classes.

    Attributes:
        model: The network itself.
        classes: Names of the classes, in the order of the channels.
        palette: One RGB color (0-255) for each.
        step: Steps that it was trained for.
    """

    def __init__(self, predictor: Predictor, step: int) -> None:
        """Wrap what :func:`load` has read."""
        super().__init__()
        assert isinstance(predictor.model, SegmentationModel)
        self.model = predictor.model
        self.classes = predictor.classes.names
        self.palette = predictor.classes.palette
        self.step = step
        self._predictor = predictor

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C, H, W) of float RGB images in [0, 1], (B, 3, H, W)."""
        logits: Tensor = self.model(images)
        return logits

    def predict(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The class of each pixel.

        Args:
            image: RGB, uint8, shape (height, width, 3).

        Returns:
            Indices of classes, uint8, shape (height, width).
        """
        return self._predictor(_checked(image))

    def probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """How probable each class is at each pixel, float32, shape (C, height, width)."""
        found: NDArray[np.float32] = self._predictor.probabilities(_checked(image))[0].numpy()
        return found


def _checked(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ConfigError(
            "an image should be RGB, uint8 of shape (height, width, 3), found "
            f"{image.dtype} of shape {image.shape}"
        )
    return image


@final
@dataclass(frozen=True)
class Run:
    """A run that has ended or was interrupted.

    Attributes:
        path: Its folder.
        outcome: How it ended: steps, time, memory.
    """

    path: Path
    outcome: Outcome
    _objects: Objects = field(repr=False)

    @property
    def scores(self) -> Mapping[str, Scores]:
        """Network (``student``, and ``teacher`` or ``average``) -> scores after the last step."""
        return self.outcome.scores

    @property
    def network(self) -> Network:
        """The averaged network after the last step."""
        return load(self.path, network=self._objects.parts.get("network"))

    def resume(self, *, on_progress: OnProgress | None = None, **changes: Any) -> Run:
        """Go on, for example with more ``iterations``; see :func:`resume`."""
        return _resumed(self.path, self._objects, on_progress, changes)

    def evaluate(self, **how: Any) -> Scores:
        """Scores of the averaged network; see :func:`evaluate`."""
        how = {"module": self._objects.parts.get("network")} | how
        if not {"dataset", "data_root", "split", "val"} & how.keys():
            train, val = self._objects.train, self._objects.val
            if val is None and train is not None:  # of which some were held out
                val = RunData(self.outcome.settings).validation(train=train)
            how["val"] = val
        return evaluate(self.path, **how)


def train(
    method: str = "ssl",
    *,
    config: str | Path | Sequence[str | Path] | None = None,
    settings: Mapping[str, Any] | None = None,
    classes: ClassSet | Sequence[str] | None = None,
    imports: Sequence[str] = (),
    on_progress: OnProgress | None = None,
    **given: Any,
) -> Run:
    """Train a network.

    Args:
        method: ``ssl``, ``supervised``, ``uda``, ``distill``, or the name of a registered method.
        config: Preset names or YAML files; by default the preset of the data set.
        settings: Setting path -> value, such as ``{"optimizer.lr": 1e-3}``.
        classes: The classes of data that are handed in as objects.
        imports: Files and modules with parts of your own.
        on_progress: Called with the steps done, all steps and a note.
        given: The short flags of the command line with underscores (``dataset``, ``data_root``,
            ``labeled``, ``labeled_target``, ``unlabeled``, ``val``, ``mixer``, ``loss``,
            ``iterations``, ``output``, ``name``, ``seed``, ...). ``network``, ``mixer``,
            ``labeled_mixer``, ``loss``, ``weighting``, ``consistency``, ``augment`` and ``style``
            may be objects, and so may ``dataset``, ``unlabeled``, ``val`` and ``source``: map-style
            data sets of (image, label).

    Raises:
        ConfigError: A setting is unknown or does not fit.
        DataError: The data are not as they have to be.
    """
    import_parts(imports)
    values, objects = _sorted(given, classes)
    values |= dict(settings or {})
    method = method_of(method)
    METHODS.check(method, "method")
    names = list(map(str, [config] if isinstance(config, str | Path) else config or ()))
    if objects.train is not None and not names:
        files: list[Path] = []
    else:
        files = configuration_files(names, values)
    resolved = settings_from(files, {"method": method} | values, imports)
    outcome, path = start(resolved, on_progress, objects)
    return Run(path, outcome, objects)


def resume(
    path: str | Path,
    *,
    classes: ClassSet | Sequence[str] | None = None,
    on_progress: OnProgress | None = None,
    **given: Any,
) -> Run:
    """Go on with a run from its latest checkpoint.

    Args:
        path: Its folder.
        classes: As for :func:`train`.
        on_progress: As for :func:`train`.
        given: Settings that change, and the objects that the run was begun with; see :func:`train`.
    """
    values, objects = _sorted(given, classes)
    return _resumed(Path(path), objects, on_progress, values)


def _resumed(
    path: Path, objects: Objects, on_progress: OnProgress | None, changes: Mapping[str, Any]
) -> Run:
    values = {_path_of(name): value for name, value in changes.items()}
    outcome, path = resume_run(
        path, values, allow_changes=bool(values), on_progress=on_progress, objects=objects
    )
    return Run(path, outcome, objects)


def load(
    path: str | Path,
    which: str = "either",
    *,
    network: nn.Module | None = None,
    device: str = "auto",
) -> Network:
    """A trained network of a run.

    Args:
        path: A run, or one of its checkpoints.
        which: ``student``, ``teacher``, ``average``, or ``either``: the averaged one if there is
            one.
        network: The module, where the run was given one from Python; it gets the weights.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged.
    """
    saved = load_networks(Path(path), which, network)
    model = next(iter(saved.networks.values()))
    found = choose_device(device)
    predictor = Predictor(
        model.to(found), saved.classes, saved.settings.get("data.resize"), device=found
    )
    return Network(predictor, saved.step)


def evaluate(
    path: str | Path,
    which: str = "either",
    *,
    dataset: str | None = None,
    data_root: str | Path | None = None,
    split: str | None = None,
    val: SegmentationDataset | MapStyle | None = None,
    class_map: str | Path | None = None,
    allow_changes: bool = False,
    module: nn.Module | None = None,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    slide: tuple[int, int] | None = None,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
) -> Scores:
    """Scores of a network of a run on the images that it was validated on, or on others.

    Without any of the choices below, the scores are those of the run's own validation.

    Args:
        path: A run, or one of its checkpoints.
        which: As for :func:`load`.
        dataset: Layout of other data, which may have other classes.
        data_root: Their folder.
        split: Their split; by default what the run was validated on.
        val: Images and labels as an object instead.
        class_map: YAML file from the classes of the data to those of the network, or the other way;
            by default a built-in map.
        allow_changes: Take the run's own images although they have changed since.
        module: As ``network`` for :func:`load`.
        flip: Average with the mirrored image.
        scales: Average over resized images.
        slide: Height and width of a sliding window.
        device: As for :func:`load`.
        precision: ``auto`` takes that of the run, where the hardware has it.

    Raises:
        ConfigError: The run's own images have changed and that is not allowed, or a choice does
            not fit.
        DataError: The data cannot be read, or their classes have no map.
        CheckpointError: There is no checkpoint, or it is damaged.
    """
    saved = load_networks(Path(path), which, module)
    name, network = next(iter(saved.networks.items()))
    compared = open_compared(
        saved,
        given=None if val is None else _dataset("val", val, saved.classes),
        dataset=dataset,
        root=None if data_root is None else str(data_root),
        split=split,
        class_map=class_map,
        allow_changes=allow_changes,
    )
    input_size: Size | None = saved.settings.get("data.resize")
    at_input = dataset is None and saved.settings.get("validation.resolution") == "input"
    found = choose_device(device)
    return evaluate_network(
        network,
        compared.dataset,
        input_size=input_size,
        resolution=input_size if at_input and input_size else "native",
        mode=InferenceMode(slide=slide, flip=flip, scales=tuple(scales)),
        device=found,
        autocast=saved.place(name, found, precision).autocast,
        joined=compared.classes.of_predictions,
        judged=compared.classes.judged,
    )


def _sorted(
    given: Mapping[str, Any], classes: ClassSet | Sequence[str] | None
) -> tuple[dict[str, Any], Objects]:
    """Setting path -> value, and what is an object."""
    values: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    data: dict[str, SegmentationDataset] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in DATA and not isinstance(value, str | Path):
            data[DATA[name]] = _dataset(name, value, classes)
        elif isinstance(value, str | bool | int | float | tuple | list | dict | Path):
            values[_path_of(name)] = str(value) if isinstance(value, Path) else value
        elif name in PARTS:
            parts[PARTS[name]] = value
        else:
            raise ConfigError(f"{name}: found {type(value).__name__}, expected a plain value")
    if "train" in data:
        values["data.dataset"] = PYTHON
        values.setdefault("data.labeled", "full")
    if "source" in data:
        values["source_domain.dataset"] = PYTHON
    return values, Objects(parts, **data)


def _dataset(
    name: str, items: Any, classes: ClassSet | Sequence[str] | None
) -> SegmentationDataset:
    if isinstance(items, SegmentationDataset):
        return items
    if classes is None:
        raise ConfigError(f"{name}: say classes=[...], the names of the classes of its labels")
    return from_python(items, classes, name=name)


def _path_of(name: str) -> str:
    """The setting of a keyword: a short flag, a setting without a section, or a path."""
    flag = name.replace("_", "-")
    top = [one for one in schema() if "." not in one]
    if flag in SHORT_FLAGS:
        return SHORT_FLAGS[flag]
    if name in top or "." in name:
        return name
    known = [*(one.replace("-", "_") for one in SHORT_FLAGS), *top]
    raise ConfigError(unknown_name("keyword", name, known, "other settings go into settings={...}"))


__all__ = ["Network", "Run", "evaluate", "load", "resume", "train"]
