"""Losses: what they refuse, former arguments, CTC against every alignment."""

import itertools
import math

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import nn
from tilegrad.errors import DTypeError, ShapeError
from tilegrad.errors import IndexError as TgIndexError
from tilegrad.errors import ValueError as TgValueError
from tilegrad.nn import functional as F

Z = tg.zeros
HALF = tg.full((2, 3), 0.5)
CTC = (Z(4, 2, 3), tg.tensor([[1, 2], [1, 1]]), (4, 4), (2, 2))


def ctc(**changes):
    names = ("log_probs", "targets", "input_lengths", "target_lengths")
    return F.ctc_loss(**{**dict(zip(names, CTC, strict=True)), **changes})


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: nn.MSELoss(reduction="average")(HALF, HALF), TgValueError, "reduction must be"),
        (lambda: nn.SmoothL1Loss(beta=-1.0)(HALF, HALF), TgValueError, "beta must be at least 0"),
        (lambda: nn.HuberLoss(delta=0.0)(HALF, HALF), TgValueError, "delta must be positive"),
        (lambda: F.mse_loss(HALF, HALF, weight=Z(3)), ShapeError, r"losses \(2, 3\), got \(3,\)"),
        (lambda: nn.BCELoss()(HALF * 3, HALF), TgValueError, r"input must lie in \[0, 1\]; use"),
        (lambda: nn.BCELoss()(HALF, HALF[0]), ShapeError, r"shape of input \(2, 3\), got \(3,\)"),
        (lambda: nn.BCEWithLogitsLoss()(HALF, HALF[0]), ShapeError, "target expects the shape"),
        (lambda: nn.KLDivLoss()(Z(2).long(), Z(2)), DTypeError, "kl_div: input must be floating"),
        (lambda: nn.GaussianNLLLoss(eps=0.0)(HALF, HALF, HALF), TgValueError, "eps must be pos"),
        (lambda: nn.GaussianNLLLoss()(HALF, HALF, -HALF), TgValueError, "var has negative"),
        (lambda: nn.GaussianNLLLoss()(HALF, HALF, Z(3)), ShapeError, r"var of shape \(3,\)"),
        (lambda: nn.SoftMarginLoss()(HALF, Z(3)), ShapeError, "target expects the shape"),
        (lambda: nn.MarginRankingLoss()(Z(3), Z(3), HALF), ShapeError, "the ranks of"),
        (lambda: nn.CosineEmbeddingLoss()(HALF, HALF, HALF), ShapeError, r"inputs \(N, D\)"),
        (lambda: nn.MultiMarginLoss(3), TgValueError, "p must be 1 or 2, got 3"),
        (lambda: F.multi_margin_loss(HALF, tg.tensor([0, 3])), TgIndexError, r"outside \[0, 3\)"),
        (lambda: F.multi_margin_loss(HALF, tg.tensor([0, -1])), TgIndexError, "a class is outside"),
        (lambda: F.multi_margin_loss(HALF, Z(2)), DTypeError, "must hold class indices"),
        (lambda: F.multi_margin_loss(HALF, tg.tensor([0, 1]), weight=Z(2)), ShapeError, "weight"),
        (lambda: nn.MultiLabelMarginLoss()(HALF, tg.tensor([0, 1])), ShapeError, "does not fit"),
        (lambda: nn.TripletMarginLoss(0.0), TgValueError, "TripletMarginLoss: margin must be pos"),
        (lambda: nn.TripletMarginWithDistanceLoss(margin=-1), TgValueError, "must be positive"),
        (lambda: F.triplet_margin_loss(Z(3), Z(3), HALF), ShapeError, "the ranks of"),
        (lambda: F.pdist(Z(3)), ShapeError, r"expects rows \(N, M\), got shape \(3,\)"),
        (lambda: F.pdist(HALF, -1.0), TgValueError, "p must not be negative"),
        (lambda: ctc(log_probs=Z(4)), ShapeError, r"expects \(T, N, C\) or \(T, C\), got"),
        (lambda: ctc(blank=3), TgValueError, r"blank 3 is outside \[0, 3\)"),
        (lambda: ctc(targets=tg.tensor([[1, 3], [1, 1]])), TgValueError, r"outside \[0, 3\)"),
        (lambda: ctc(targets=Z(2, 2)), DTypeError, "targets must hold class indices"),
        (lambda: ctc(targets=tg.tensor([1, 2, 1])), ShapeError, "sum to 4, targets has 3"),
        (lambda: ctc(target_lengths=(2, 3)), TgValueError, r"target_lengths must lie in \[0, 2\]"),
        (lambda: ctc(input_lengths=(5, 4)), TgValueError, r"input_lengths must lie in \[0, 4\]"),
        (lambda: ctc(input_lengths=(4,)), ShapeError, "input_lengths expects 2 lengths"),
        (lambda: ctc(input_lengths=Z(2)), DTypeError, "input_lengths must hold integers"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("loss", [nn.SmoothL1Loss, nn.BCELoss, nn.KLDivLoss, nn.SoftMarginLoss,
                                  nn.HingeEmbeddingLoss, nn.CrossEntropyLoss])  # fmt: skip
def test_former_arguments(loss):
    assert loss(size_average=False).reduction == "sum"
    assert loss(reduce=False).reduction == "none"
    assert loss(size_average=True, reduction="sum").reduction == "mean"


def alignments(labels, steps, classes):
    """Every path of ``steps`` classes that collapses to labels (class 0 is the blank)."""
    for path in itertools.product(range(classes), repeat=steps):
        merged = [c for c, _ in itertools.groupby(path)]
        if [c for c in merged if c] == list(labels):
            yield path


@pytest.mark.parametrize("labels", [(1,), (1, 2), (2, 2), (1, 2, 1), (), (1, 1, 1)])
def test_ctc_sums_every_alignment(labels):
    logits = tg.tensor(np.random.default_rng(4).standard_normal((5, 3)))
    lp = logits.log_softmax(1)
    p = np.exp(lp.numpy())
    total = sum(math.prod(p[t, c] for t, c in enumerate(path)) for path in alignments(labels, 5, 3))
    target = tg.tensor(labels, dtype=tg.int64)
    got = F.ctc_loss(lp, target, 5, len(labels), reduction="none")
    assert got.item() == pytest.approx(-math.log(total), rel=1e-12)


def test_ctc_without_an_alignment():
    x = Z(2, 1, 3).requires_grad_()
    y = F.ctc_loss(x.log_softmax(2), tg.tensor([[1, 1]]), (2,), (2,))
    assert y.item() == math.inf
    y = F.ctc_loss(x.log_softmax(2), tg.tensor([[1, 1]]), (2,), (2,), zero_infinity=True)
    y.backward()
    assert y.item() == 0 and x.grad.abs().max().item() == 0
    none = F.ctc_loss(x.log_softmax(2), tg.tensor([[1]]), (0,), (1,), reduction="none")
    assert none.tolist() == [math.inf]
    assert F.ctc_loss(x.log_softmax(2), tg.tensor([[1]]), (0,), (0,)).item() == 0


def test_l0_loss_counts_and_has_no_slope():
    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = nn.L0Loss("sum", tolerance=0.5)(x, tg.tensor([1.25, 2.75, 3.0]))
    y.backward()
    assert y.item() == 1.0 and x.grad.tolist() == [0, 0, 0]
    assert nn.ExponentialLoss()(Z(3), tg.ones(3)).item() == 1.0


def test_kl_div_batchmean_as_a_module():
    """The divergence: the sum over classes, averaged over the rows alone."""
    x, t = tg.tensor([[0.2, 0.8], [0.5, 0.5]]).log(), tg.tensor([[0.6, 0.4], [1.0, 0.0]])
    p, q = np.array([[0.2, 0.8], [0.5, 0.5]]), np.array([[0.6, 0.4], [1.0, 1.0]])
    want = np.sum(np.array([[0.6, 0.4], [1.0, 0.0]]) * np.log(q / p)) / 2
    m = nn.KLDivLoss(reduction="batchmean")
    assert m.reduction == "batchmean"
    assert m(x, t).item() == pytest.approx(want, rel=1e-6)
    assert nn.KLDivLoss(reduction="batchmean", size_average=False).reduction == "sum"
    for name in (nn.L1Loss, nn.KLDivLoss):
        with pytest.raises(TgValueError, match="reduction must be"):
            name(reduction="rowmean")
    with pytest.raises(TgValueError, match="reduction must be"):
        nn.L1Loss(reduction="batchmean")
