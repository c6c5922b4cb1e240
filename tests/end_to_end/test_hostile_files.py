"""Hostile files given to commands: refused, nothing executed, nothing written."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from tests.data.layouts import SIZE, write_camvid, write_image, write_label
from tests.data.test_images import header_only_png
from tests.end_to_end.processes import Launcher, refused, tree


class Payload:
    """Makes a file when an unpickler that trusts the file reads it."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.witness,)


def weights_that_run_code(folder: Path) -> tuple[object, ...]:
    torch.save({"conv1.weight": Payload(folder / "executed")}, folder / "evil.pth")
    return "--weights", "evil.pth"


def split_that_runs_code(folder: Path) -> tuple[object, ...]:
    (folder / "evil.pkl").write_bytes(pickle.dumps(Payload(folder / "executed")))
    return "--labeled", "evil.pkl@1/4"


def weights_of_another_network(folder: Path) -> tuple[object, ...]:
    safetensors.torch.save_file({"layer.weight": torch.zeros(3)}, folder / "other.safetensors")
    return "--weights", "other.safetensors"


def weights_with_an_absurd_header(folder: Path) -> tuple[object, ...]:
    (folder / "absurd.safetensors").write_bytes(b"\xff" * 7 + b"\x7f{}")
    return "--weights", "absurd.safetensors"


def weights_with_another_hash(folder: Path) -> tuple[object, ...]:
    weights_of_another_network(folder)
    flag = f"model.weights_sha256={64 * 'a'}"
    return "--weights", "other.safetensors", "--set", flag


def a_long_configuration(folder: Path) -> tuple[object, ...]:
    (folder / "long.yaml").write_text("# " + 1_100_000 * "x" + "\nseed: 1\n")
    return "--config", "long.yaml"


def an_alias_bomb(folder: Path) -> tuple[object, ...]:
    lines = [
        "a: &a [x, x]",
        *(f"{b}: &{b} [*{a}, *{a}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    ]
    (folder / "bomb.yaml").write_text("\n".join(lines))
    return "--config", "bomb.yaml"


def first_image(folder: Path) -> Path:
    return sorted((folder / "data" / "train").iterdir())[0]


def a_huge_image(folder: Path) -> tuple[object, ...]:
    first_image(folder).write_bytes(header_only_png(15000, 15000))
    return ()


def a_gif(folder: Path) -> tuple[object, ...]:
    Image.new("P", (20, 12)).save(folder / "a.gif")
    first_image(folder).write_bytes((folder / "a.gif").read_bytes())
    return ()


def an_unknown_id(folder: Path) -> tuple[object, ...]:
    label = sorted((folder / "data" / "trainannot").iterdir())[0]
    write_label(label, np.full(SIZE, 200, dtype=np.uint8))
    return ()


def a_list_with_a_nul(folder: Path) -> tuple[object, ...]:
    (folder / "list.txt").write_bytes(b"a\0b\n")
    return "--labeled", "list.txt"


CASES: dict[Callable[[Path], tuple[object, ...]], tuple[int, tuple[str, ...]]] = {
    weights_that_run_code: (1, ("evil.pth", "unsafe")),
    split_that_runs_code: (1, ("evil.pkl", "unsafe", "nothing was executed")),
    weights_of_another_network: (1, ("90 % are needed",)),
    weights_with_an_absurd_header: (1, ("absurd.safetensors",)),
    weights_with_another_hash: (1, ("other.safetensors", "SHA-256")),
    a_long_configuration: (2, ("long.yaml", "1")),
    an_alias_bomb: (2, ("bomb.yaml, line", "aliases")),
    a_huge_image: (1, ("too large", "at most 100000000 pixels")),
    a_gif: (1, ("is not a readable PNG or JPEG file",)),
    an_unknown_id: (1, ("trainannot", "label id 200")),
    a_list_with_a_nul: (1, ("list.txt, line 1", "escapes the root")),
}
"""What is written and given -> exit code and what the message has to say."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_refused(
    case: Callable[[Path], tuple[object, ...]], launch: Launcher, config: Path, tmp_path: Path
) -> None:
    write_camvid(tmp_path / "data")
    write_camvid(tmp_path / "data", split="val")
    write_image(tmp_path / "more" / "a.png")
    flags = case(tmp_path)
    before = tree(tmp_path)
    code, words = CASES[case]
    done = launch(
        "train_ssl",
        *("--config", config, "--dataset", "camvid", "--data-root", "data", "--labeled", "full"),
        *("--unlabeled", "more", "--set", "data.crop=[64,64]", "--output", "out", *flags),
        cwd=tmp_path,
    )
    refused(done, *words, code=code)
    assert not (tmp_path / "executed").exists()
    assert [one for one in tree(tmp_path) if one not in (*before, "out")] == []
