"""Typed settings: documented dataclasses, filled from YAML files and then from flags.

Defaults are the thesis' values for semi-supervised Cityscapes (methods.md); presets under
``configs/`` state where they depart. A setting is known by its path, for example
``optimizer.lr``, in YAML, in ``--set optimizer.lr=1e-3`` and as the flag ``--optimizer.lr 1e-3``.
"""

from mixseg.config.flags import (
    GROUP_FLAGS,
    SHORT_FLAGS,
    add_settings_arguments,
    spelled_out,
    typed_overrides,
)
from mixseg.config.idle import refuse_idle_flags
from mixseg.config.leaves import (
    Setting,
    fields_of,
    settings_leaves,
    to_flat,
)
from mixseg.config.ranges import SEEDS, WITHOUT_FILE, Range, ranges_of
from mixseg.config.resolve import (
    LENGTHS,
    resolve_settings,
    resolve_values,
)
from mixseg.config.saved import (
    PATHS,
    changed_settings,
    changed_values,
    dump_settings,
    with_absolute_paths,
)
from mixseg.config.sections import (
    ALIGNMENTS,
    AdversarialSettings,
    AugmentationSettings,
    CheckpointSettings,
    DataSettings,
    DemoSettings,
    DistillationSettings,
    LossSettings,
    MixingSettings,
    ModelSettings,
    OptimizerSettings,
    ScheduleSettings,
    Settings,
    SourceSettings,
    StageSettings,
    TargetSettings,
    TeacherSettings,
    TrainingSettings,
    ValidationSettings,
)
from mixseg.config.values import FlagType, Size, value_of

__all__ = [
    "ALIGNMENTS",
    "GROUP_FLAGS",
    "LENGTHS",
    "PATHS",
    "SEEDS",
    "SHORT_FLAGS",
    "WITHOUT_FILE",
    "AdversarialSettings",
    "AugmentationSettings",
    "CheckpointSettings",
    "DataSettings",
    "DemoSettings",
    "DistillationSettings",
    "FlagType",
    "LossSettings",
    "MixingSettings",
    "ModelSettings",
    "OptimizerSettings",
    "Range",
    "ScheduleSettings",
    "Setting",
    "Settings",
    "Size",
    "SourceSettings",
    "StageSettings",
    "TargetSettings",
    "TeacherSettings",
    "TrainingSettings",
    "ValidationSettings",
    "add_settings_arguments",
    "changed_settings",
    "changed_values",
    "dump_settings",
    "fields_of",
    "ranges_of",
    "refuse_idle_flags",
    "resolve_settings",
    "resolve_values",
    "settings_leaves",
    "spelled_out",
    "to_flat",
    "typed_overrides",
    "value_of",
    "with_absolute_paths",
]
