"""Trained networks as files that other programs run, without mixseg."""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from mixseg.config.values import Size
from mixseg.data.contract import ClassSet
from mixseg.errors import CheckpointError, ConfigError, unknown_name

if TYPE_CHECKING:  # torch takes seconds to import: names of formats and files are checked before
    from torch import Tensor
    from torch.export import ExportedProgram

    from mixseg.models import SegmentationModel

INPUT, OUTPUT, BATCH = "images", "logits", "batch"
"""Names of what a program takes and gives, and of the dimension of any size, in formats that have
names for them."""

CHECKED_BATCHES = (1, 2)
"""Sizes of the batches of random images on which a file is compared with its network."""

TOLERANCE = 1e-3
"""Largest difference of two logits, as a part of the largest logit (at least 1)."""

Run = Callable[["Tensor"], "Tensor"]
"""From images (B, 3, H, W) to logits (B, C, H, W); float32 on the CPU."""


@final
@dataclass(frozen=True)
class ExportFormat:
    """A kind of file.

    Attributes:
        ending: How the names of such files end.
        encode: A program, and JSON that says what it is, to the content of a file.
        load: From the content of a file to what it computes; None where nothing that could run it
            is installed, which is ``runtime``.
        runtime: The package that runs such files.
        packages: What has to be installed to write one, beside mixseg's own dependencies; they are
            the extra ``export``.
    """

    ending: str
    encode: Callable[[ExportedProgram, str], bytes]
    load: Callable[[bytes], Run | None]
    runtime: str
    packages: tuple[str, ...] = ()


def chosen_format(file: Path, asked_for: str | None) -> str:
    """The format of a file, which its ending says; what is asked for must not contradict it.

    Raises:
        ConfigError: The ending or the name is that of no format, they contradict each other, or a
            package that writes the format is missing.
    """
    endings = {one.ending: name for name, one in EXPORT_FORMATS.items()}
    known = " or ".join(f"{ending} ({name})" for ending, name in endings.items())
    if asked_for is not None and asked_for not in EXPORT_FORMATS:
        raise ConfigError(f"--format: {unknown_name('format', asked_for, EXPORT_FORMATS)}")
    if file.suffix.lower() not in endings:
        raise ConfigError(f"--output {file}: the name of the file has to end in {known}")
    found = endings[file.suffix.lower()]
    if asked_for not in (None, found):
        raise ConfigError(
            f"--output {file} is a file of format {found}, and --format says {asked_for}; give a "
            f"name that ends in {EXPORT_FORMATS[str(asked_for)].ending}, or leave --format out"
        )
    packages = EXPORT_FORMATS[found].packages
    missing = [one for one in packages if importlib.util.find_spec(one) is None]
    if missing:
        raise ConfigError(
            f"format {found}: {' and '.join(missing)} missing; pip install 'mixseg[export]'"
        )
    return found


def card_of(
    network: SegmentationModel, classes: ClassSet, size: Size, form: str, origin: Mapping[str, Any]
) -> str:
    """What a user of the file has to know, as JSON.

    Args:
        network: Exported network.
        classes: Its classes.
        size: Height and width of its images.
        form: Name in :data:`EXPORT_FORMATS`.
        origin: Its run, step and name.
    """
    from mixseg.models import model_title

    content = {
        "format": form,
        **origin,
        "model": model_title(network.spec),
        "input": {
            "name": INPUT,
            "layout": "BCHW",
            "dtype": "float32",
            "channels": "RGB",
            "range": [0.0, 1.0],
            "batch": "any",
            "size": list(size),
            "normalisation": "inside",
        },
        "output": {"name": OUTPUT, "layout": "BCHW", "dtype": "float32", "values": "logits"},
        "classes": {
            "names": list(classes.names),
            "palette": [list(color) for color in classes.palette],
            "label_ids": list(classes.label_ids),
        },
    }
    return json.dumps(content, indent=1)


def export_network(network: SegmentationModel, size: Size, form: str, about: str) -> bytes:
    """A network as the content of a file.

    The program takes float32 RGB images in [0, 1], (B, 3, H, W), for any B and the given H and W,
    and returns float32 logits (B, C, H, W). Normalization is inside.

    Args:
        network: In evaluation mode, on the CPU; stays as it is.
        size: H and W.
        form: Name in :data:`EXPORT_FORMATS`.
        about: JSON that is kept in the file.
    """
    import torch

    # A batch of 1 would be taken for the only size there is.
    example = torch.zeros(2, 3, *size)
    with torch.no_grad():
        program = torch.export.export(
            network, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
        )
    program.example_inputs = None  # they would be saved: six floats for each pixel
    return EXPORT_FORMATS[form].encode(program, about)


def largest_difference(
    network: SegmentationModel, content: bytes, size: Size, form: str
) -> float | None:
    """The largest difference of the logits of a file and of its network, on random images.

    Arguments are those of :func:`export_network`; the result is None where nothing is installed
    that runs the file.

    Raises:
        CheckpointError: It is larger than rounding explains.
    """
    run = EXPORT_FORMATS[form].load(content)
    if run is None:
        return None
    import torch

    random = torch.Generator().manual_seed(0)
    largest = 0.0
    for batch in CHECKED_BATCHES:
        images = torch.rand(batch, 3, *size, generator=random)
        with torch.inference_mode():
            expected = network(images)
            found = run(images)
        difference = float((found - expected).abs().max())
        bound = TOLERANCE * max(1.0, float(expected.abs().max()))
        if not difference <= bound:  # nor NaN
            raise CheckpointError(
                f"the exported program's logits differ from the network's by {difference:.2g}, "
                f"where {bound:.2g} would be rounding; nothing was written. Try another format"
            )
        largest = max(largest, difference)
    return largest


def comparison_note(difference: float | None, form: str) -> str:
    """One line on the result of :func:`largest_difference`."""
    if difference is None:
        runtime = EXPORT_FORMATS[form].runtime
        return f"not compared with the network: {runtime} is not installed"
    return (
        f"logits of the file and of the network differ by at most {difference:.2g} "
        f"(random images, batches of {' and '.join(map(str, CHECKED_BATCHES))})"
    )


def _torch_program(program: ExportedProgram, about: str) -> bytes:
    import torch

    file = io.BytesIO()
    torch.export.save(program, file, extra_files={"mixseg.json": about})
    return file.getvalue()


def _load_torch_program(content: bytes) -> Run:
    import torch

    run: Run = torch.export.load(io.BytesIO(content)).module()
    return run


def _onnx(program: ExportedProgram, about: str) -> bytes:
    import torch

    made = torch.onnx.export(
        program,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert made is not None  # as with dynamo=False
    model: Any = made.model_proto
    _name_batch(model.graph)
    model.metadata_props.add(key="mixseg", value=about)
    content: bytes = model.SerializeToString()
    return content


def _name_batch(graph: Any) -> None:
    """Call the size of the batch ``batch`` in an ONNX graph, where torch calls it ``s34``."""
    ((found,),) = [
        [one.dim_param for one in value.type.tensor_type.shape.dim if one.dim_param]
        for value in graph.input
    ]
    for value in (*graph.input, *graph.output, *graph.value_info):
        for one in value.type.tensor_type.shape.dim:
            if one.dim_param:  # a formula, within the network
                one.dim_param = re.sub(rf"\b{re.escape(found)}\b", BATCH, one.dim_param)


def _load_onnx(content: bytes) -> Run | None:
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import torch

    runtime = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: images.numpy()})
        return torch.from_numpy(np.asarray(logits))

    return run


EXPORT_FORMATS: dict[str, ExportFormat] = {
    "torch-export": ExportFormat(".pt2", _torch_program, _load_torch_program, "torch"),
    "onnx": ExportFormat(".onnx", _onnx, _load_onnx, "onnxruntime", ("onnx", "onnxscript")),
}
"""Name -> how such files are written and read. Add an entry to add a format."""
