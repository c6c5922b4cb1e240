"""Your own images and network from Python: arrays in, a trained network and its predictions out.

python examples/own_data.py

Bright squares on dark ground stand for your images; replace ``pairs`` by any map-style data set of
(image, label), and the network by any ``torch.nn.Module`` that returns logits.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray
from torch import nn

import mixseg
from mixseg.mixing import CutMix

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def pairs(count: int, seed: int) -> list[Pair]:
    """Images of 64x64 pixels with squares, and their labels."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        label = random.integers(0, 2, (8, 8), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        noise = random.integers(0, 40, (64, 64, 3))
        made.append(((60 + 120 * label[..., None] + noise).astype(np.uint8), label))
    return made


def main() -> None:
    """Train on 8 labeled and 32 unlabeled images, and predict one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="runs", help="folder of the run")
    parser.add_argument("--iterations", type=int, default=100)
    chosen = parser.parse_args()
    run = mixseg.train(
        "ssl",
        dataset=pairs(8, seed=0),
        unlabeled=[(image, None) for image, _ in pairs(32, seed=1)],
        val=pairs(8, seed=2),
        classes=["ground", "square"],
        network=nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 2, 1)),
        mixer=CutMix(proportion=0.3),
        iterations=chosen.iterations,
        lr=1e-2,
        settings={"model.batch_norm": "train", "model.weights": "none", "validation.every": 0},
        output=chosen.output,
        on_progress=lambda done, total, note: print(f"{done}/{total} {note}"),
    )
    image, label = pairs(1, seed=3)[0]
    right = (run.network.predict(image) == label).mean()
    print(f"mIoU {run.scores['teacher'].miou:.3f}; {right:.1%} of a new image right; {run.path}")


if __name__ == "__main__":
    main()
