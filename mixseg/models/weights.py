"""Weight files from elsewhere: read without running code, checked before anything is copied."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mixseg.errors import CheckpointError

MAX_KEYS = 20_000
MATCHED_SHARE = 0.9

# The original DeepLabv2 weights expect BGR in 0-255 with these means subtracted, here in RGB
# order and units of [0, 1].
DEEPLAB_MEAN = (122.67891434 / 255, 116.66876762 / 255, 104.00698793 / 255)
DEEPLAB_STD = (1 / 255, 1 / 255, 1 / 255)

_HEAD_KEY = re.compile(r"layer5\.conv2d_list\.(\d+)\.(weight|bias)")
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "Scale.", "backbone.")


@final
@dataclass(frozen=True)
class WeightReport:
    """What a weight file gave to a model.

    Attributes:
        source: The file.
        matched: Keys that were copied.
        missing: Keys of the model that the file does not have.
        unexpected: Keys of the file that the model does not have.
        head: Whether the classifier was copied too.
    """

    source: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    head: bool

    def describe(self) -> str:
        """One line for people."""
        head = "classifier loaded too" if self.head else "classifier starts afresh"
        return (
            f"{self.source}: {len(self.matched)} keys matched, {len(self.missing)} missing"
            f"{_some(self.missing)}, {len(self.unexpected)} unexpected{_some(self.unexpected)}; "
            f"{head}"
        )


def _some(names: tuple[str, ...]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f" ({', '.join(names[:4])}{more})"


def read_weight_file(source: str, sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of a local ``.safetensors``, ``.pth`` or ``.pt`` file.

    Wrappers (``state_dict``) and prefixes (``module.``) are removed. Nothing in the file is ever
    executed, and there is no fallback that would.

    Args:
        source: Path of the file; addresses are refused.
        sha256: Expected hash, hexadecimal.

    Raises:
        CheckpointError: The file is missing, damaged, unsafe, has another hash, or holds something
            other than dense tensors.
    """
    path = check_weight_path(source)
    if sha256 is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256.lower():
            raise CheckpointError(f"{path}: SHA-256 is {found}, expected {sha256.lower()}")
    content = _read(path)
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not content:
        raise CheckpointError(f"{path}: holds no tensors")
    if len(content) > MAX_KEYS:
        raise CheckpointError(f"{path}: {len(content)} keys; {MAX_KEYS} is the limit")
    tensors = {}
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: key {str(key)[:80]!r} holds {type(value).__name__}, expected a tensor"
            )
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise CheckpointError(f"{path}: key {key[:80]!r} is not a dense tensor")
        tensors[_without_prefix(key)] = value
    return tensors


def check_weight_path(source: str) -> Path:
    """The path of a local weight file; a CheckpointError for addresses and missing files."""
    if "://" in source:
        raise CheckpointError(
            f"model.weights: {source}: weights are not fetched from addresses. Download the file, "
            "check its hash, and give its path."
        )
    path = Path(source).expanduser()
    if not path.is_file():
        raise CheckpointError(f"model.weights: {path}: no such file")
    return path


def _read(path: Path) -> dict[Any, Any]:
    if path.suffix == ".safetensors":
        try:
            return dict(safetensors.torch.load_file(path))
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{path}: damaged safetensors file: {error}") from error
    if path.suffix not in (".pth", ".pt"):
        raise CheckpointError(f"{path}: expected a .safetensors, .pth or .pt file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: unsafe or damaged: it holds more than tensors and was not loaded. Convert it "
            "to .safetensors on a machine you trust it on."
        ) from error
    except Exception as error:  # a malformed zip or pickle fails in many ways
        raise CheckpointError(f"{path}: damaged: {type(error).__name__}: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a dictionary of tensors")
    return content


def _without_prefix(key: str) -> str:
    changed = True
    while changed:
        changed = False
        for prefix in _PREFIXES:
            if key.startswith(prefix):
                key, changed = key.removeprefix(prefix), True
    return key


def is_original_deeplab(tensors: Mapping[str, Tensor]) -> bool:
    """Whether keys are named as in the original DeepLabv2 release."""
    return any(_HEAD_KEY.fullmatch(key) for key in tensors)


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> WeightReport:
    """Copy backbone weights, and the classifier where names and shapes fit.

    Raises:
        CheckpointError: A shape differs, or fewer than 90 % of the backbone's keys are there. The
            model is untouched then.
    """
    own = model.state_dict()
    # A counter that old files lack and nothing depends on.
    own = {key: value for key, value in own.items() if not key.endswith("num_batches_tracked")}
    incoming: dict[str, Tensor] = {}
    used = set()
    for key in own:
        for candidate in _candidates(key):
            if candidate in tensors:
                incoming[key] = tensors[candidate]
                used.add(candidate)
                break
    # Another number of classes is what transfer is for: such a classifier is left out whole.
    # Upsampling starts as interpolation, so that a file may do without it.
    head = {key for key in own if key.startswith(("head.", "upsampling."))}
    head_fits = all(
        incoming[key].shape == own[key].shape if key in incoming else "upsampling." in key
        for key in head
    )
    if not head_fits:
        incoming = {key: value for key, value in incoming.items() if key not in head}
    wrong = [key for key, value in incoming.items() if value.shape != own[key].shape]
    if wrong:
        key = wrong[0]
        raise CheckpointError(
            f"{source}: {len(wrong)} tensors have another shape than the model, for example {key}: "
            f"{tuple(incoming[key].shape)} in the file, {tuple(own[key].shape)} in the model. "
            "Does the file belong to this model.backbone?"
        )
    backbone = [key for key in own if key.startswith("backbone.")]
    missing = tuple(key for key in own if key not in incoming and (head_fits or key not in head))
    ignored = {key for key in tensors if key.endswith("num_batches_tracked")}
    unexpected = tuple(sorted(set(tensors) - used - ignored))
    matched = sum(key in incoming for key in backbone)
    # A deeper network of the same family holds every key of a shallower one: keys left over in
    # modules that the model has (layer3.17) count against the file, others (fc) do not.
    modules = {name.split(".")[0] for key in backbone for name in _candidates(key)[1:]}
    foreign = sum(key.split(".")[0] in modules for key in unexpected)
    if matched < MATCHED_SHARE * max(len(backbone), matched + foreign):
        raise CheckpointError(
            f"{source}: only {matched} of {len(backbone)} backbone keys of the model, and of "
            f"{matched + foreign} in the file, match (90 % are needed). "
            f"Missing{_some(missing)}; unexpected{_some(unexpected)}"
        )
    model.load_state_dict(incoming, strict=False)
    return WeightReport(source, tuple(incoming), missing, unexpected, head_fits)


def _candidates(key: str) -> list[str]:
    """Names under which a file may hold a tensor of the model."""
    name = key.removeprefix("backbone.")
    # timm flattens lists of stages when it extracts features: stages.0 becomes stages_0.
    listed = re.sub(r"^([a-z]+)_(\d+)\.", r"\1.\2.", name)
    original = re.sub(r"^head\.branches\.(\d+)\.", r"layer5.conv2d_list.\1.", name)
    return [key, name, listed, original, key.removeprefix("head.")]  # the last: torchvision's FCN
