"""Rows of the normalisations."""

from typing import Any

from . import Arg, Case

_EVAL = {"training": False}


def _train(x, weight=None, bias=None, **options):  # type: ignore[no-untyped-def]
    from tilegrad.nn import functional as F

    return F.batch_norm(x, None, None, weight, bias, training=True, **options)


def _w(n: int) -> tuple[Arg, Arg]:
    return Arg((n,), 0.5, 2.0), Arg((n,))


def _batch(name: str, x: Arg, affine: bool = True, **options: Any) -> Case:
    inputs = (x, *_w(x.shape[1])) if affine else (x,)
    return Case(name, "batch_norm", inputs, call=_train, reduction=200, **options)


def _train_relu(x, weight=None, bias=None, residual=None):  # type: ignore[no-untyped-def]
    from tilegrad.nn import functional as F

    return F.batch_norm_relu(x, None, None, weight, bias, True, residual=residual)


def _rectified() -> list[Case]:
    def row(name: str, *inputs: Arg, call: Any = _train_relu, **options: Any) -> Case:
        return Case(name, "batch_norm_relu", inputs, call=call, reduction=200, **options)

    def x(layout: str = "C") -> Arg:
        return Arg((3, 4, 5, 5), layout=layout)

    return [
        row("images", x(), *_w(4)),
        row("residual", x(), *_w(4), x()),
        row("residual_channels_last", x("channels_last"), *_w(4), x("channels_last")),
        row("residual_in_another_layout", x(), *_w(4), x("channels_last")),
        row("matrix", Arg((9, 4)), *_w(4), Arg((9, 4))),
        row("no_weight", x()),
        row("bias_only", Arg((3, 4, 5)), Arg((4,)), call=lambda x, b: _train_relu(x, None, b)),
        row("empty_batch", Arg((0, 4, 3, 3)), *_w(4), Arg((0, 4, 3, 3)), second=False),
        row("resnet_block", *[Arg((16, 64, 56, 56))], *_w(64), Arg((16, 64, 56, 56)), bench=True,
            flops=16 * 64 * 56 * 56 * 8.0, bytes=16 * 64 * 56 * 56 * 16.0, second=False),
        row("inference", x(), *_STATS, *_w(4), x(), call=_infer_relu),
    ]  # fmt: skip


def _infer_relu(x, mean, var, weight, bias, residual):  # type: ignore[no-untyped-def]
    from tilegrad.nn import functional as F

    return F.batch_norm_relu(x, mean, var, weight, bias, residual=residual)


_STATS = (Arg((4,), -0.5, 0.5, grad=False), Arg((4,), 0.5, 2.0, grad=False))

CASES = [
    _batch("images", Arg((3, 4, 5, 5))),
    _batch("matrix", Arg((9, 4))),
    _batch("channels_last", Arg((3, 4, 5, 5), layout="channels_last")),
    _batch("non_contiguous", Arg((3, 4, 5), layout="strided")),
    _batch("no_weight", Arg((3, 4, 5, 5)), affine=False),
    Case("bias_only", "batch_norm", (Arg((3, 4, 5)), Arg((4,))), reduction=200,
         call=lambda x, b: _train(x, None, b)),
    _batch("empty_batch", Arg((0, 4, 3, 3)), second=False),
    _batch("resnet_layer", Arg((16, 64, 56, 56)), bench=True, flops=16 * 64 * 56 * 56 * 6.0,
           bytes=16 * 64 * 56 * 56 * 8.0, second=False),
    *_rectified(),
    Case("inference", "batch_norm", (Arg((3, 4, 5, 5)), *_STATS, *_w(4)), _EVAL, reduction=75),
    Case("inference_no_weight", "batch_norm", (Arg((3, 4, 5, 5)), *_STATS), _EVAL, reduction=75),
    Case("last_axis", "layer_norm", (Arg((3, 4, 17)), *_w(17)), {"normalized_shape": (17,)},
         reduction=60, call=lambda x, w, b, normalized_shape: _layer(x, normalized_shape, w, b)),
    Case("two_axes", "layer_norm", (Arg((5, 4, 6)), Arg((4, 6), 0.5, 2.0), Arg((4, 6))),
         {"normalized_shape": (4, 6)}, reduction=60,
         call=lambda x, w, b, normalized_shape: _layer(x, normalized_shape, w, b)),
    Case("no_weight", "layer_norm", (Arg((5, 33), layout="strided"),),
         {"normalized_shape": (33,)}, reduction=60),
    Case("bias_only", "layer_norm", (Arg((5, 33)), Arg((33,))), {"normalized_shape": (33,)},
         reduction=60, call=lambda x, b, normalized_shape: _layer(x, normalized_shape, None, b)),
    Case("bias_only_two_axes", "layer_norm", (Arg((5, 4, 6)), Arg((4, 6))),
         {"normalized_shape": (4, 6)}, reduction=60,
         call=lambda x, b, normalized_shape: _layer(x, normalized_shape, None, b)),
    Case("bias_only", "group_norm", (Arg((3, 6, 5)), Arg((6,))), {"num_groups": 3}, reduction=60,
         call=lambda x, b, num_groups: _group(x, num_groups, None, b)),
    Case("groups", "group_norm", (Arg((3, 6, 5)), *_w(6)), {"num_groups": 3}, reduction=60,
         call=lambda x, w, b, num_groups: _group(x, num_groups, w, b)),
    Case("one_group", "group_norm", (Arg((3, 6, 5, 2)), *_w(6)), {"num_groups": 1}, reduction=60,
         call=lambda x, w, b, num_groups: _group(x, num_groups, w, b)),
    Case("no_weight", "group_norm", (Arg((3, 6, 5)),), {"num_groups": 2}, reduction=60),
    Case("rows", "normalize", (Arg((4, 5), 0.5, 2.0),), {"dim": 1}, reduction=5),
]  # fmt: skip


def _layer(x, shape, w, b):  # type: ignore[no-untyped-def]
    from tilegrad.nn import functional as F

    return F.layer_norm(x, shape, w, b)


def _group(x, groups, w, b):  # type: ignore[no-untyped-def]
    from tilegrad.nn import functional as F

    return F.group_norm(x, groups, w, b)
