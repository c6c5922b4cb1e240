"""A copy of a data set with smaller images, in the same layout, for the same loader.

Decoding and resizing large images takes most of a loader's time. Both can be done once: images and
labels of the training split, and images without labels, are written at training size, as the
loader itself would make them. What is validated keeps its size, since labels are compared there.
"""

from mixseg.data.prepared_copy.copying import Outcome, prepare
from mixseg.data.prepared_copy.manifest import MANIFEST, Manifest, Stamp, read_manifest
from mixseg.data.prepared_copy.output import check_output
from mixseg.data.prepared_copy.plan import Original, Plan, plan_splits, plan_unlabeled

__all__ = [
    "MANIFEST",
    "Manifest",
    "Original",
    "Outcome",
    "Plan",
    "Stamp",
    "check_output",
    "plan_splits",
    "plan_unlabeled",
    "prepare",
    "read_manifest",
]
