from __future__ import annotations

import torch
from torch.nn import functional

from mixseg.ignore import IGNORE
from tests.methods.test_methods import batches, build, stepped, take, weights


def test_loss_is_the_cross_entropy_of_the_labelled_pixels() -> None:
    method = build("supervised")
    given = batches()["labeled"]
    result = stepped(method, {"labeled": given}, 0)
    logits = method.student(given.images / 255)
    terms = [
        functional.cross_entropy(logits[b, :, y, x], given.labels[b, y, x].long())
        for b, y, x in (given.labels != IGNORE).nonzero().tolist()
    ]
    torch.testing.assert_close(
        result.losses["supervised"], torch.stack(terms).mean(), rtol=1e-5, atol=1e-5
    )
    assert set(result.losses) == {"supervised"}


def test_the_average_follows_the_student() -> None:
    method = build("supervised")
    take(method, range(1))
    found = weights(method)
    for key in method.student.state_dict():
        assert torch.equal(found[f"average.{key}"], found[f"student.{key}"]), "the first is a copy"
    take(method, range(1, 3))
    moved = weights(method)
    key = next(key for key, _ in method.student.named_parameters())
    assert not torch.equal(moved[f"average.{key}"], moved[f"student.{key}"])
    assert not torch.equal(moved[f"average.{key}"], found[f"average.{key}"])
