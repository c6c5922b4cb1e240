"""Models: a head on a backbone, or a whole network; logits have the size of the images."""

from mixseg.models.architecture import Architecture, HeadOnBackbone, WholeNetwork
from mixseg.models.build import (
    build_initial_model,
    build_model,
    check_model_settings,
    model_title,
)
from mixseg.models.checkpointing import checkpoint_blocks
from mixseg.models.discriminator import Discriminator
from mixseg.models.fixed_teacher import FixedTeacher
from mixseg.models.input_sizes import check_input_sizes
from mixseg.models.model import ModelOutput, ModelSpec, Normalisation, SegmentationModel
from mixseg.models.weights import WeightReport, load_checked, load_weights, read_weight_file

__all__ = [
    "Architecture",
    "Discriminator",
    "FixedTeacher",
    "HeadOnBackbone",
    "ModelOutput",
    "ModelSpec",
    "Normalisation",
    "SegmentationModel",
    "WeightReport",
    "WholeNetwork",
    "build_initial_model",
    "build_model",
    "check_input_sizes",
    "check_model_settings",
    "checkpoint_blocks",
    "load_checked",
    "load_weights",
    "model_title",
    "read_weight_file",
]
