"""Rows of softmax and the losses."""

from . import Arg, Case

_ROWS = (4, 10)
_T = Arg((4,), 0, 10, "index")
_W = Arg((10,), 0.5, 2.0, grad=False)


def _ignored(f):  # type: ignore[no-untyped-def]
    def call(x, t, **options):  # type: ignore[no-untyped-def]
        import tilegrad as tg

        some = tg.where(tg.arange(t.shape[0]) % 2 == 0, -100, t)
        return getattr(tg.nn.functional, f)(x, some, **options)

    return call


CASES = [
    Case(name, op, (arg,), {"dim": dim}, reduction=10)
    for op in ("softmax", "log_softmax")
    for name, arg, dim in (
        ("last_axis", Arg(_ROWS, -4, 4), -1),
        ("first_axis", Arg(_ROWS, -4, 4), 0),
        ("middle_axis_strided", Arg((2, 5, 3), layout="strided"), 1),
        ("zero_dim", Arg(()), 0),
        ("empty", Arg((0, 5)), 1),
        ("longer_than_a_block", Arg((2, 37), -4, 4), 1),
    )
]  # fmt: skip
CASES += [
    Case(reduction, op, (Arg(_ROWS, -4, 4), _T), {"reduction": reduction}, reduction=40)
    for op in ("cross_entropy", "nll_loss")
    for reduction in ("mean", "sum", "none")
]
CASES += [
    Case("weighted", op, (Arg(_ROWS, -4, 4), _T, _W), reduction=40, half=False)
    for op in ("cross_entropy", "nll_loss")
]
CASES += [
    Case("ignored", op, (Arg(_ROWS, -4, 4), _T), reduction=40, call=_ignored(op))
    for op in ("cross_entropy", "nll_loss")
]
CASES += [
    Case("images", op, (Arg((2, 5, 3, 2), -4, 4), Arg((2, 3, 2), 0, 5, "index")), reduction=60)
    for op in ("cross_entropy", "nll_loss")
]
CASES += [
    Case("one_sample", "cross_entropy", (Arg((10,), -4, 4), Arg((), 0, 10, "index")), reduction=10),
    Case("smoothed", "cross_entropy", (Arg(_ROWS, -4, 4), _T), {"label_smoothing": 0.1},
         reduction=40),
    Case("smoothed_ignored", "cross_entropy", (Arg(_ROWS, -4, 4), _T), {"label_smoothing": 0.1},
         reduction=40, call=_ignored("cross_entropy")),
    Case("smoothed_weighted", "cross_entropy", (Arg(_ROWS, -4, 4), _T, _W),
         {"label_smoothing": 0.1}, reduction=40, half=False),
    Case("probabilities", "cross_entropy", (Arg(_ROWS, -4, 4), Arg(_ROWS, 0.1, 1.0)), reduction=40),
    Case("lenet_batch", "cross_entropy", (Arg((128, 10)), Arg((128,), 0, 10, "index")),
         bench=True, flops=1280 * 20.0, reduction=1280),
    Case("attention_rows", "softmax", (Arg((4096, 256)),), {"dim": 1}, bench=True,
         differentiable=False, flops=2.0**20 * 10, bytes=2.0**23, reduction=256),
]  # fmt: skip
CASES += [
    Case(reduction, op, (Arg((4, 5), 1, 2), Arg((4, 5), -1, 0.5)), {"reduction": reduction},
         reduction=20)
    for op in ("mse_loss", "l1_loss")
    for reduction in ("mean", "sum", "none")
]  # fmt: skip
