"""Rows of pooling."""

from . import Arg, Case


def _x(*shape: int, layout: str = "C") -> Arg:
    return Arg(shape, kind="distinct", layout=layout)


def _row(name: str, op: str, x: Arg, exact: bool = True, **params: object) -> Case:
    return Case(name, op, (x,), params, exact=exact, reduction=16)


_MAX = [
    _row("lenet_2x2", "max_pool2d", _x(2, 3, 8, 8), kernel_size=2),
    _row("overlapping_3x3", "max_pool2d", _x(2, 3, 9, 11), kernel_size=3, stride=2),
    _row("padded", "max_pool2d", _x(2, 3, 7, 7), kernel_size=3, stride=2, padding=1),
    _row("ceil_mode", "max_pool2d", _x(1, 2, 7, 8), kernel_size=3, stride=2, ceil_mode=True),
    _row("dilated", "max_pool2d", _x(1, 2, 9, 9), kernel_size=(2, 3), stride=1, dilation=2),
    _row("oblong", "max_pool2d", _x(1, 2, 6, 9), kernel_size=(2, 3), stride=(1, 2)),
    _row("channels_last", "max_pool2d", _x(2, 17, 6, 6, layout="channels_last"), kernel_size=2),
    _row("non_contiguous", "max_pool2d", _x(2, 3, 6, 6, layout="strided"), kernel_size=2),
    _row("empty_batch", "max_pool2d", _x(0, 3, 6, 6), kernel_size=2),
    _row("one_sample", "max_pool2d", _x(3, 6, 6), kernel_size=2),
    _row("wide_row_tail", "max_pool2d", _x(1, 1, 4, 75), kernel_size=2),
    _row("indices", "max_pool2d", _x(2, 3, 6, 6), kernel_size=2, return_indices=True),
    _row("series", "max_pool1d", _x(2, 3, 17), kernel_size=3, stride=2, padding=1),
    _row("volume", "max_pool3d", _x(1, 2, 4, 6, 5), kernel_size=2, stride=2),
]
_AVG = [
    _row("lenet_2x2", "avg_pool2d", _x(2, 3, 8, 8), kernel_size=2),
    _row("overlapping_3x3", "avg_pool2d", _x(2, 3, 9, 11), False, kernel_size=3, stride=2),
    _row("padding_counts", "avg_pool2d", _x(2, 3, 7, 7), kernel_size=2, stride=2, padding=1),
    _row("padding_does_not_count", "avg_pool2d", _x(2, 3, 7, 7), False, kernel_size=3, stride=2,
         padding=1, count_include_pad=False),
    _row("ceil_mode", "avg_pool2d", _x(1, 2, 7, 8), False, kernel_size=3, stride=2, padding=1,
         ceil_mode=True),
    _row("divisor", "avg_pool2d", _x(1, 2, 6, 6), kernel_size=3, divisor_override=2),
    _row("channels_last", "avg_pool2d", _x(2, 17, 6, 6, layout="channels_last"), kernel_size=2),
    _row("non_contiguous", "avg_pool2d", _x(2, 3, 6, 6, layout="reversed"), kernel_size=2),
    _row("empty_batch", "avg_pool2d", _x(0, 3, 6, 6), kernel_size=2),
    _row("one_sample", "avg_pool2d", _x(3, 6, 6), kernel_size=2),
    _row("series", "avg_pool1d", _x(2, 3, 17), kernel_size=4, stride=2, padding=1),
    _row("volume", "avg_pool3d", _x(1, 2, 4, 6, 5), kernel_size=2, stride=2),
]  # fmt: skip
_ADAPTIVE = [
    _row(name, f"adaptive_{kind}_pool{n}d", x, kind == "max", output_size=size)
    for kind in ("avg", "max")
    for name, n, x, size in (
        ("global", 2, _x(2, 3, 5, 7), 1),
        ("uneven", 2, _x(2, 3, 7, 10), (3, 4)),
        ("keeps_an_axis", 2, _x(2, 3, 7, 10), (None, 3)),
        ("channels_last", 2, _x(2, 5, 6, 6, layout="channels_last"), 2),
        ("one_sample", 2, _x(3, 7, 5), 2),
        ("series", 1, _x(2, 3, 11), 4),
        ("volume", 3, _x(1, 2, 5, 4, 6), 2),
    )
]
CASES = [
    *_MAX,
    *_AVG,
    *_ADAPTIVE,
    *[
        Case("vgg_2x2", f"{kind}_pool2d", (Arg((16, 64, 56, 56)),), {"kernel_size": 2}, bench=True,
             flops=16 * 64 * 56 * 56.0, bytes=16 * 64 * 56 * 56 * 5.0)
        for kind in ("max", "avg")
    ],
]  # fmt: skip
