"""Rows of the losses of regression and of probabilities, of margins, distances and CTC."""

from typing import Any

from . import Arg, Case

_SHAPE = (4, 5)
_X, _Y = Arg(_SHAPE, 1, 2), Arg(_SHAPE, -1, 0.5)
_P, _Q = Arg(_SHAPE, 0.1, 0.9), Arg(_SHAPE, 0.2, 0.8)
_BIT = Arg(_SHAPE, kind="bool")
_SIGN = Arg(_SHAPE, kind="bool")


def _call(name: str, signs: int | None = None, **options: Any) -> Any:
    """The functional; the argument number ``signs`` as 1 and -1 instead of bool."""

    def call(*args: Any, **params: Any) -> Any:
        import tilegrad as tg

        given = list(args)
        if signs is not None:
            given[signs] = given[signs].to(args[0].dtype) * 2.0 - 1.0
        return getattr(tg.nn.functional, name)(*given, **options, **params)

    return call


def _ctc(lengths: tuple, targets: tuple, many: tuple, **options: Any) -> Any:
    def call(x: Any) -> Any:
        import tilegrad as tg

        y = tg.tensor(targets, dtype=tg.int64)
        return tg.nn.functional.ctc_loss(x.log_softmax(-1), y, lengths, many, **options)

    return call


_OPS = (
    ("smooth_l1_loss", _X, _Y), ("huber_loss", _X, _Y), ("l0_loss", _X, _Y),
    ("binary_cross_entropy", _P, _Q), ("binary_cross_entropy_with_logits", _Y, _Q),
    ("kl_div", _Y, _Q), ("poisson_nll_loss", _Y, _P), ("soft_margin_loss", _X, _Y),
    ("exponential_loss", _X, _Y),
)  # fmt: skip
CASES = [
    Case(reduction, op, (x, t), {"reduction": reduction}, reduction=20)
    for op, x, t in _OPS
    for reduction in ("mean", "sum", "none")
]
_NEAR = Arg(_SHAPE, 0.1, 0.4)
_FAR = Arg(_SHAPE, -0.5, -0.2)
_WEIGHT = Arg(_SHAPE, 0.5, 2.0)
_ROWS = (Arg((3, 4), 0.0, 1.0), Arg((3, 4), 1.5, 2.5), Arg((3, 4), -1.5, -0.5))
CASES += [
    Case("near", "smooth_l1_loss", (_NEAR, _FAR), {"beta": 2.0}, reduction=20),
    Case("near", "huber_loss", (_NEAR, _FAR), {"delta": 2.0}, reduction=20),
    Case("no_beta", "smooth_l1_loss", (_X, _Y), {"beta": 0}, reduction=20),
    *[
        Case("weighted", op, (_X, _Y, _WEIGHT), reduction=20, half=False,
             call=lambda x, y, w, op=op: _call(op, weight=w)(x, y))
        for op in ("mse_loss", "l1_loss", "huber_loss")
    ],
    Case("weighted", "binary_cross_entropy", (_P, _Q, Arg((5,), 0.5, 2.0)), reduction=20),
    Case("weights", "binary_cross_entropy_with_logits",
         (Arg(_SHAPE, -4, 4), _Q, _WEIGHT, Arg((5,), 0.5, 2.0)), reduction=20,
         call=lambda x, t, w, p: _call("binary_cross_entropy_with_logits", pos_weight=p)(x, t, w)),
    Case("batchmean", "kl_div", (_Y, _Q), {"reduction": "batchmean"}, reduction=20),
    Case("log_target", "kl_div", (_Y, _X), {"log_target": True}, reduction=20),
    Case("rate_full", "poisson_nll_loss", (_P, Arg(_SHAPE, 2, 5)),
         {"log_input": False, "full": True}, reduction=20),
    Case("full", "poisson_nll_loss", (_P, _Q), {"full": True}, reduction=20),
    Case("same_shape", "gaussian_nll_loss", (_X, _Y, _WEIGHT), reduction=20),
    Case("row_variance", "gaussian_nll_loss", (_X, _Y, Arg((4,), 0.5, 2.0)), {"full": True},
         reduction=20),
    Case("number", "gaussian_nll_loss", (_X, _Y), {"var": 1.5, "reduction": "sum"}, reduction=20),
    Case("below_margin", "hinge_embedding_loss", (_P, _SIGN), reduction=20,
         call=_call("hinge_embedding_loss", 1)),
    Case("above_margin", "hinge_embedding_loss", (_X, _SIGN), {"margin": 0.5, "reduction": "sum"},
         reduction=20, call=_call("hinge_embedding_loss", 1)),
    Case("both_orders", "margin_ranking_loss", (_X, _Y, _SIGN), {"margin": 0.25}, reduction=20,
         call=_call("margin_ranking_loss", 2)),
    Case("batch", "cosine_embedding_loss", (*_ROWS[:2], Arg((3,), kind="bool")), {"margin": -0.9},
         reduction=30, call=_call("cosine_embedding_loss", 2)),
    Case("one", "cosine_embedding_loss", (Arg((4,)), Arg((4,)), Arg((), kind="bool")),
         {"margin": -0.9}, reduction=30, call=_call("cosine_embedding_loss", 2)),
    Case("rows", "multi_margin_loss", (Arg(_SHAPE), Arg((4,), 0, 5, "index")), reduction=20),
    Case("squares", "multi_margin_loss", (Arg(_SHAPE), Arg((4,), 0, 5, "index")),
         {"p": 2, "margin": 0.5, "reduction": "none"}, reduction=20, half=False),
    Case("weighted", "multi_margin_loss",
         (Arg((5,)), Arg((), 0, 5, "index"), Arg((5,), 0.5, 2.0)), reduction=20,
         call=lambda x, t, w: _call("multi_margin_loss", weight=w)(x, t)),
    Case("rows", "multilabel_margin_loss", (Arg(_SHAPE), Arg(_SHAPE, -1, 5, "index")),
         reduction=20),
    Case("one", "multilabel_margin_loss", (Arg((5,)), Arg((5,), 0, 5, "index")), reduction=20),
    Case("rows", "multilabel_soft_margin_loss", (Arg(_SHAPE, -4, 4), _Q), reduction=20),
    Case("weighted", "multilabel_soft_margin_loss", (_X, _Q, Arg((5,), 0.5, 2.0)),
         {"reduction": "none"}, reduction=20),
    Case("rows", "triplet_margin_loss", _ROWS, {"margin": 3.0}, reduction=20),
    Case("swapped", "triplet_margin_loss", _ROWS, {"margin": 9.0, "swap": True, "p": 3},
         reduction=40),
    Case("default_distance", "triplet_margin_with_distance_loss", _ROWS, {"margin": 3.0},
         reduction=20),
    Case("rows", "cosine_similarity", _ROWS[:2], reduction=8),
    Case("broadcast", "cosine_similarity", (_ROWS[0], Arg((4,), 0.5, 1.0)), {"dim": -1},
         reduction=8),
    Case("rows", "pairwise_distance", _ROWS[:2], reduction=8),
    Case("third_norm", "pairwise_distance", _ROWS[:2], {"p": 3.0, "keepdim": True}, reduction=16),
    Case("rows", "pdist", (Arg((5, 3), kind="distinct"),), reduction=8),
    Case("city_block", "pdist", (Arg((4, 3), kind="distinct"),), {"p": 1.0}, reduction=8),
    Case("one_row", "pdist", (Arg((1, 3)),), second=False),
    Case("padded", "ctc_loss", (Arg((6, 3, 4)),), reduction=60, half=False,
         call=_ctc((6, 5, 4), ((1, 2, 3), (2, 2, 0), (1, 0, 0)), (3, 2, 1))),
    Case("concatenated", "ctc_loss", (Arg((5, 2, 3)),), reduction=60, half=False,
         call=_ctc((5, 3), (0, 1, 1), (2, 1), blank=2, reduction="sum")),
    Case("one_sample", "ctc_loss", (Arg((4, 3)),), reduction=60, half=False,
         call=_ctc((4,), (1, 2), (2,), reduction="none")),
    Case("no_alignment", "ctc_loss", (Arg((3, 2, 3)),), reduction=60, half=False,
         call=_ctc((3, 3), ((1, 1), (1, 2)), (2, 2), zero_infinity=True)),
    Case("empty_target", "ctc_loss", (Arg((3, 2, 3)),), reduction=60, half=False,
         call=_ctc((3, 2), ((), ()), (0, 0))),
]  # fmt: skip
