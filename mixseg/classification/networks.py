"""The networks of Karlı, experiment A, for RGB images of 32x32."""

from __future__ import annotations

from torch import nn
from torchvision.models import resnet18

CLASSES = 10


def teacher_network() -> nn.Module:
    """ResNet-18 for small images: a 3x3 first convolution of stride 1, and no pooling after it.

    The report says ResNet18 and no more; with the first layers for large images, of stride 4, an
    image of 32x32 would end as a single pixel.
    """
    network: nn.Module = resnet18(weights=None, num_classes=CLASSES)
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


def student_network() -> nn.Module:
    """The 5-layer CNN: three convolutions, each with batch norm and pooling, and two linear layers.

    The report gives the number of layers; the widths are those that small CNNs of three
    convolutions commonly have.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 32), (32, 64), (64, 128)):
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(128 * 4 * 4, 128),
        nn.ReLU(),
        nn.Linear(128, CLASSES),
    )
