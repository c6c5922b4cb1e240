"""Weight files: read without running their code, checked before anything is copied."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mixseg.errors import CheckpointError, named_first
from mixseg.files import check_pickle, read_bytes

MAX_KEYS = 20_000
MATCHED_SHARE = 0.9

MAX_BYTES = 2**33
"""Largest file that is read: two billion weights of four bytes."""

UNPACKED_SHARE = 4
"""Most bytes that an archive may unpack to, as a multiple of its size: torch compresses nothing."""

LEGACY_PICKLES = 5
"""Pickles at the beginning of a file in the format before torch 1.6; the tensors' bytes follow."""

# The original DeepLabv2 weights expect BGR in 0-255 with these means subtracted, here in RGB
# order and units of [0, 1].
DEEPLAB_MEAN = (122.67891434 / 255, 116.66876762 / 255, 104.00698793 / 255)
DEEPLAB_STD = (1 / 255, 1 / 255, 1 / 255)

WEIGHT_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""Types of the weights that a file may hold."""

_COUNTER = "num_batches_tracked"
_HEAD_KEY = re.compile(r"layer5\.conv2d_list\.(\d+)\.(weight|bias)")
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = re.compile(r"^(module\.|Scale\.|backbone\.)+")


@final
@dataclass(frozen=True)
class WeightReport:
    """The tensors that a model took from a weight file.

    Attributes:
        source: The file.
        matched: Keys that were copied.
        missing: Keys of the model that are not in the file.
        unexpected: Keys of the file that are not in the model.
        head: Whether the classifier was copied, too.
    """

    source: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    head: bool

    def describe(self) -> str:
        """A one-line summary."""
        head = "classifier loaded too" if self.head else "classifier starts afresh"
        return (
            f"{self.source}: {len(self.matched)} keys matched, {len(self.missing)} missing"
            f"{_some(self.missing)}, {len(self.unexpected)} unexpected{_some(self.unexpected)}; "
            f"{head}"
        )


def _some(names: tuple[str, ...]) -> str:
    return f" ({named_first(names, 4)})" if names else ""


def read_weight_file(source: str, sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of a local ``.safetensors``, ``.pth`` or ``.pt`` file.

    Wrappers (``state_dict``) and prefixes (``module.``) are removed. Nothing in the file is ever
    executed.

    Args:
        source: Path of the file; addresses are refused.
        sha256: Expected hash, hexadecimal.

    Raises:
        CheckpointError: The file is missing, damaged, unsafe, has another hash, or holds more than
            dense tensors.
    """
    path = check_weight_path(source)
    try:
        data = read_bytes(path, MAX_BYTES)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    if sha256 is not None:
        found = hashlib.sha256(data).hexdigest()
        if found != sha256.lower():
            raise CheckpointError(f"{path}: SHA-256 is {found}, expected {sha256.lower()}")
    content = _parsed(path, data)
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not content:
        raise CheckpointError(f"{path}: holds no tensors")
    if len(content) > MAX_KEYS:
        raise CheckpointError(f"{path}: {len(content)} keys; {MAX_KEYS} is the limit")
    tensors: dict[str, Tensor] = {}
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: key {str(key)[:80]!r} holds {type(value).__name__}, expected a tensor"
            )
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise CheckpointError(f"{path}: key {key[:80]!r} is not a dense tensor")
        name = _PREFIXES.sub("", key)
        if name in tensors:
            first = next(one for one in content if _PREFIXES.sub("", one) == name)
            raise CheckpointError(
                f"{path}: keys {first[:80]!r} and {key[:80]!r} are both {name[:80]!r} of a "
                "network; keep one of them in the file"
            )
        tensors[name] = value
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
        problem = "is not a regular file" if path.exists() else "no such file"
        raise CheckpointError(f"model.weights: {path}: {problem}")
    return path


def _parsed(path: Path, data: bytes) -> dict[Any, Any]:
    if path.suffix == ".safetensors":
        try:
            return dict(safetensors.torch.load(data))
        except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{path}: damaged safetensors file: {error}") from error
    if path.suffix not in (".pth", ".pt"):
        raise CheckpointError(f"{path}: expected a .safetensors, .pth or .pt file")
    _check_limits(path, data)
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
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


def _check_limits(path: Path, data: bytes) -> None:
    """Refuse, before torch reads it, a file that would fill the memory or never end."""
    file = io.BytesIO(data)
    try:
        if not data.startswith(b"PK\x03\x04"):  # how torch tells its two formats apart
            for _ in range(LEGACY_PICKLES):
                if file.tell() < len(data):
                    check_pickle(file)
            return
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            unpacked = sum(entry.file_size for entry in entries)
            if unpacked > UNPACKED_SHARE * len(data):
                raise pickle.UnpicklingError(f"{len(data)} bytes that unpack to {unpacked}")
            for entry in entries:
                if entry.filename.endswith(".pkl"):
                    with archive.open(entry) as member:
                        check_pickle(io.BytesIO(member.read()))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: unsafe: it would take too much to read ({error}). Nothing was loaded"
        ) from error
    except Exception as error:  # as in _parsed
        raise CheckpointError(f"{path}: damaged: {type(error).__name__}: {error}") from error


def is_original_deeplab(tensors: Mapping[str, Tensor]) -> bool:
    """Whether keys are named as in the original DeepLabv2 release."""
    return any(_HEAD_KEY.fullmatch(key) for key in tensors)


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> WeightReport:
    """Copy backbone weights, and the classifier where names and shapes fit.

    Raises:
        CheckpointError: A shape differs, or fewer than 90 % of the backbone's keys are there. The
            model is untouched then.
    """
    # Old files lack the counters, and nothing depends on them.
    own = {key: one for key, one in model.state_dict().items() if not key.endswith(_COUNTER)}
    incoming: dict[str, Tensor] = {}
    used = set()
    for key in own:
        for name in _names_in_files(key):
            if name in tensors and name not in used:
                incoming[key] = tensors[name]
                used.add(name)
                break
    # A classifier of another number of classes is left out whole. Learned upsampling starts as
    # interpolation, so a file may lack it.
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
    _check_values(incoming, own, source)
    backbone = [key for key in own if key.startswith("backbone.")]
    missing = tuple(key for key in own if key not in incoming and (head_fits or key not in head))
    unexpected = tuple(sorted(key for key in set(tensors) - used if not key.endswith(_COUNTER)))
    matched = sum(key in incoming for key in backbone)
    # A deeper network of the same family holds every key of a shallower one: keys left over in
    # modules that the model has (layer3.17) count against the file, others (fc) do not.
    modules = {name.split(".")[0] for key in backbone for name in _names_in_files(key)[1:]}
    foreign = sum(key.split(".")[0] in modules for key in unexpected)
    if matched < MATCHED_SHARE * max(len(backbone), matched + foreign):
        raise CheckpointError(
            f"{source}: only {matched} of {len(backbone)} backbone keys of the model, and of "
            f"{matched + foreign} in the file, match (90 % are needed). "
            f"Missing{_some(missing)}; unexpected{_some(unexpected)}"
        )
    model.load_state_dict(incoming, strict=False)
    return WeightReport(source, tuple(incoming), missing, unexpected, head_fits)


def load_checked(network: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Copy all tensors of a checkpoint into a network.

    Raises:
        CheckpointError: A tensor has another type than the network's, or holds NaN or infinity. The
            network is untouched then.
        RuntimeError: Names or shapes are not the network's.
    """
    own = network.state_dict()
    _check_values({key: tensors[key] for key in own if key in tensors}, own, source)
    network.load_state_dict(tensors)


def _check_values(
    incoming: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str | Path
) -> None:
    """Refuse tensors of another type than the network's, NaN and infinity.

    Args:
        incoming: Tensors of a file, under the names of the network.
        own: Tensors of the network.
        source: The file, for messages.
    """
    broken: dict[str, int] = {}
    for key, value in incoming.items():
        wanted = own[key]
        if value.dtype != wanted.dtype and not (
            value.dtype in WEIGHT_DTYPES and wanted.is_floating_point()
        ):
            kinds = WEIGHT_DTYPES if wanted.is_floating_point() else (wanted.dtype,)
            raise CheckpointError(
                f"{source}: key {key!r} holds {_name(value.dtype)}; expected "
                f"{' or '.join(map(_name, kinds))}"
            )
        # As they will be in the network: a large float64 becomes infinite.
        count = int((~value.to(wanted.dtype).isfinite()).sum())
        if count and bool(wanted.isfinite().all()):
            broken[key] = count
    if broken:
        key, count = next(iter(broken.items()))
        more = f"; {len(broken) - 1} more tensors are like it" if len(broken) > 1 else ""
        raise CheckpointError(
            f"{source}: key {key!r} holds {count} numbers of {incoming[key].numel()} that are not "
            f"finite (NaN or infinity){more}. Such a network predicts nothing"
        )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _names_in_files(key: str) -> list[str]:
    """Names under which a file may hold a tensor of the model."""
    name = key.removeprefix("backbone.")
    # timm flattens lists of stages when it extracts features: stages.0 becomes stages_0.
    listed = re.sub(r"^([a-z]+)_(\d+)\.", r"\1.\2.", name)
    original = re.sub(r"^head\.branches\.(\d+)\.", r"layer5.conv2d_list.\1.", name)
    return [key, name, listed, original, key.removeprefix("head.")]  # the last: torchvision's FCN
