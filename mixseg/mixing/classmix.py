"""ClassMix: half of the classes of an image on another (Tranheden & Olsson, Algorithm 1)."""

from __future__ import annotations

from typing import Annotated, Literal, final

import torch
from torch import Tensor

from mixseg.config.options import Asks, ByRun, Needs
from mixseg.config.values import Range, Share
from mixseg.errors import ConfigError
from mixseg.mixing.mixer import Mixer
from mixseg.mixing.segments import BITS, IDS, NUMBERS
from mixseg.mixing.together import AUTO, members, related_by_name
from mixseg.registry import MIXERS


@MIXERS.register("classmix")
@final
class ClassMix(Mixer):
    """Keeps the pixels of ceil(p n) classes, drawn from the n classes present in the label.

    Args:
        num_classes: C, at most 254; labels are below it, or 255.
        proportion: Share of the classes of an image that is kept.
        rounding: Rounding of proportion times classes; Algorithm 1 rounds up, the published
            semi-supervised code down.
        ignore_is_class: Count 255 among the classes of a label, so that unlabeled regions are
            pasted too, without a label; true in the published adaptation code.
        together: Classes that belong together, as in pole+traffic sign,rider+bicycle: with a class
            that is drawn, those are kept as well that share a group with it (thesis, 5.3.1). auto
            takes the pairs whose borders in the labels show it.
        rare_temperature: T with which rare classes are preferred: each draw takes class c of those
            left by P(c) ~ exp((1 - f_c) / T), f_c its share of the labeled pixels; 255 counts as
            a class of share 1 / C. By default all are equally likely.
        instances: Draw among single things in place of classes where labeled images tell them apart
            (thesis, 5.3.1): each is one of the n, and a class without instances is one, too. What
            belongs to it by ``together`` is kept whole.
        class_names: By train id; empty where they are not known yet.
        class_shares: f, float32, shape (C,); needed with a temperature.
        related: For auto: which classes belong together, bool, shape (C, C), symmetric.

    Raises:
        ConfigError: A group has no two classes, or names an unknown one; or what an option needs is
            not given.
    """

    def __init__(
        self,
        num_classes: int,
        proportion: Share = 0.5,
        rounding: Literal["ceil", "floor"] = "ceil",
        *,
        ignore_is_class: bool = False,
        together: Annotated[tuple[str, ...] | None, Asks("related", ("auto",))] = None,
        rare_temperature: Annotated[float | None, Range(0.0001, 1000), Asks("class_shares")] = None,
        instances: Annotated[
            bool,
            Asks("instances"),
            Needs(
                "mixing.labeled",
                "source_domain.dataset",
                "mixing.pasted_from=labeled",
                help="--mixing.labeled classmix",
            ),
        ] = False,
        class_names: Annotated[tuple[str, ...], ByRun()] = (),
        class_shares: Tensor | None = None,
        related: Tensor | None = None,
    ) -> None:
        self.num_classes = num_classes
        self.proportion = proportion
        self.ignore_is_class = ignore_is_class
        self.instances = instances
        self.numbers = 1 + NUMBERS if instances else 1
        self.round = torch.ceil if rounding == "ceil" else torch.floor
        self.related: Tensor | None = None
        self.unnamed = bool(together) and together != (AUTO,) and not class_names
        if together == (AUTO,):
            if related is None:
                raise ConfigError("mixing.together auto needs the labels of a run; name the groups")
            self.related = related.float()
        elif together:
            members(together)  # refuses what is no group
            if class_names:
                self.related = related_by_name(together, class_names).float()
        self.preference: Tensor | None = None
        if rare_temperature is not None:
            if class_shares is None:
                raise ConfigError("mixing.rare_temperature needs the share of each class")
            shares = torch.cat((class_shares.float(), class_shares.new_full((1,), 1 / num_classes)))
            self.preference = ((1 - shares) / rare_temperature).repeat(self.numbers)

    def mask(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """See :meth:`Mixer.mask`; ignored pixels are kept only if they count as a class.

        With instances, labels may be :func:`mixseg.mixing.segments`.
        """
        if self.unnamed:
            raise ConfigError("mixing.together needs the names of the classes")
        batch = labels.shape[0]
        ignore = self.num_classes
        if self.instances:
            ids = (labels & (IDS - 1)).clamp(max=ignore) + (labels >> BITS) * (ignore + 1)
        else:
            ids = labels.clamp(max=ignore)
        ids = ids.flatten(1)
        present = torch.zeros(
            batch, self.numbers * (ignore + 1), dtype=torch.bool, device=labels.device
        )
        # As a tensor: on CPUs a number is scattered in more than twice the time.
        present.scatter_(1, ids, present.new_ones(()).expand_as(ids))
        if not self.ignore_is_class:
            present[:, ignore] = False
        # A random order in which present classes come first: the first k of it are drawn
        # without replacement, for all images at once and without asking the device anything.
        score = torch.rand(present.shape, generator=generator, device=labels.device)
        if self.preference is not None:
            # The order of exponential variables E / w is that of draws by w without replacement;
            # logarithms, since the weights of a low temperature are too large for floats.
            self.preference = self.preference.to(labels.device)
            score = (-torch.log1p(-score)).log() - self.preference
        order = score.masked_fill(~present, torch.inf).argsort(dim=1)
        # A whole number of classes stays one: in float64, 0.07 * 100 is a little above 7.
        share = self.proportion * present.sum(1, keepdim=True, dtype=torch.float64)
        count = self.round(share.round(decimals=9))
        rank = torch.arange(order.shape[1], device=labels.device).expand_as(order)
        chosen = torch.zeros_like(present).scatter_(1, order, rank < count)
        if self.related is not None:
            self.related = self.related.to(labels.device)
            of_class = chosen.view(batch, self.numbers, ignore + 1)[:, :, :ignore]
            of_class |= (of_class.any(1, keepdim=True).float() @ self.related) > 0
        return chosen.gather(1, ids).view_as(labels)
