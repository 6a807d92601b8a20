"""Rows of the layers' functions that are made of other ops."""

from typing import Any

from . import Arg, Case


def _x(*shape: int, layout: str = "C") -> Arg:
    return Arg(shape, kind="distinct", layout=layout)


def _drawn(name: str, **options: Any) -> Any:
    def call(*args: Any, **params: Any) -> Any:
        import tilegrad as tg

        tg.manual_seed(3)
        return getattr(tg.nn.functional, name)(*args, **options, **params)

    return call


def _with(name: str, *names: str, **options: Any) -> Any:
    """The functional with the arguments behind the first by name."""

    def call(x: Any, *rest: Any, **params: Any) -> Any:
        import tilegrad as tg

        named = dict(zip(names, rest, strict=True))
        return getattr(tg.nn.functional, name)(x, **named, **options, **params)

    return call


def _unpooled(n: int, **options: Any) -> Any:
    def call(x: Any) -> Any:
        import tilegrad as tg

        F = tg.nn.functional
        pool, back = getattr(F, f"max_pool{n}d"), getattr(F, f"max_unpool{n}d")
        y, at = pool(x, 2, return_indices=True)
        return back(y, at, 2, **options)

    return call


def _bag(**options: Any) -> Any:
    def call(at: Any, weight: Any, *rest: Any) -> Any:
        import tilegrad as tg

        return tg.nn.functional.embedding_bag(at, weight, **options, **dict(
            zip(("per_sample_weights",), rest, strict=False)))  # fmt: skip

    return call


_GRID = Arg((2, 4, 3, 2), -0.95, 0.95)
_SMALL = (Arg((3, 4, 6)), Arg((4,), 0.5, 2.0), Arg((4,)))
_ROWS = Arg((6, 3), kind="distinct")
CASES = [
    Case("overlapping", "unfold", (_x(2, 3, 5, 6),), {"kernel_size": (2, 3), "padding": 1},
         exact=True),
    Case("dilated", "unfold", (_x(3, 7, 6),),
         {"kernel_size": 2, "dilation": 2, "stride": (2, 1)}, exact=True),
    Case("overlapping", "fold", (_x(2, 12, 12),), {"output_size": (4, 5), "kernel_size": 2},
         exact=True),
    Case("padded", "fold", (_x(8, 9),),
         {"output_size": 4, "kernel_size": 2, "padding": 1, "stride": 2}, exact=True),
    Case("circular", "pad", (_x(2, 3, 4, 5),), {"pad": (2, 1, 0, 3), "mode": "circular"},
         exact=True),
    Case("series", "lp_pool1d", (Arg((2, 3, 8), 0.2, 2.0),), {"norm_type": 3, "kernel_size": 2},
         reduction=8),
    Case("images", "lp_pool2d", (Arg((2, 3, 5, 6)),),
         {"norm_type": 2, "kernel_size": 3, "stride": 2, "ceil_mode": True}, reduction=16),
    Case("volume", "lp_pool3d", (Arg((1, 2, 4, 4, 4)),), {"norm_type": 2, "kernel_size": 2},
         reduction=16),
    Case("odd_window", "median_pool2d", (_x(2, 3, 6, 7),), {"kernel_size": 3, "padding": 1},
         exact=True),
    Case("even_window", "median_pool2d", (_x(3, 6, 6),), {"kernel_size": 2}, exact=True),
    Case("series", "max_unpool1d", (_x(2, 3, 8),), exact=True, call=_unpooled(1)),
    Case("images", "max_unpool2d", (_x(2, 3, 6, 4),), exact=True, call=_unpooled(2)),
    Case("chosen_size", "max_unpool2d", (_x(2, 7, 7),), exact=True,
         call=_unpooled(2, output_size=(7, 7))),
    Case("volume", "max_unpool3d", (_x(1, 2, 4, 2, 2),), exact=True, call=_unpooled(3)),
    Case("ratio", "fractional_max_pool2d", (_x(2, 3, 7, 8),),
         {"kernel_size": 2, "output_ratio": 0.6}, exact=True, call=_drawn("fractional_max_pool2d")),
    Case("size", "fractional_max_pool2d", (_x(3, 7, 8),),
         {"kernel_size": 2, "output_size": (3, 1)}, exact=True,
         call=_drawn("fractional_max_pool2d")),
    Case("volume", "fractional_max_pool3d", (_x(1, 2, 5, 4, 6),),
         {"kernel_size": 2, "output_size": (3, 2, 3)}, exact=True,
         call=_drawn("fractional_max_pool3d")),
    Case("twice", "pixel_shuffle", (_x(2, 8, 3, 2),), {"upscale_factor": 2}, exact=True),
    Case("twice", "pixel_unshuffle", (_x(2, 2, 6, 4),), {"downscale_factor": 2}, exact=True),
    Case("groups", "channel_shuffle", (_x(2, 6, 3, 2),), {"groups": 3}, exact=True),
    *[
        Case(f"{mode}_{name}", "interpolate", (_x(2, 2, *space),), {"mode": mode, **how},
             exact=mode.startswith("nearest"), reduction=64)
        for mode, space in (
            ("nearest", (5, 4)), ("nearest-exact", (5, 4)), ("linear", (7,)), ("bilinear", (5, 4)),
            ("bicubic", (5, 4)), ("trilinear", (3, 4, 2)), ("area", (5, 4)),
        )
        for name, how in (("larger", {"scale_factor": 1.7}), ("smaller", {"size": 2}))
    ],
    Case("corners", "interpolate", (_x(2, 2, 5, 4),),
         {"mode": "bicubic", "size": (7, 3), "align_corners": True}, reduction=64),
    Case("default", "upsample", (_x(1, 2, 3, 3),), {"scale_factor": 2}, exact=True),
    Case("default", "upsample_nearest", (_x(1, 2, 3, 3),), {"size": 5}, exact=True),
    Case("default", "upsample_bilinear", (_x(1, 2, 3, 3),), {"size": 5}, reduction=16),
    Case("images", "affine_grid", (Arg((2, 2, 3)),), {"size": (2, 1, 3, 4)}, reduction=8),
    Case("volume", "affine_grid", (Arg((1, 3, 4)),),
         {"size": (1, 1, 2, 3, 2), "align_corners": True}, reduction=8),
    *[
        Case(mode, "grid_sample", (_x(2, 3, 5, 4), _GRID), {"padding_mode": mode}, reduction=40,
             half=False)
        for mode in ("zeros", "border", "reflection")
    ],
    Case("nearest", "grid_sample", (_x(2, 3, 5, 4), _GRID), {"mode": "nearest"}, half=False),
    Case("volume", "grid_sample", (_x(1, 2, 3, 4, 2), Arg((1, 2, 2, 3, 3), -0.9, 0.9)),
         {"align_corners": True}, reduction=80, half=False),
    Case("images", "instance_norm", (Arg((2, 4, 3, 5)), *_SMALL[1:]), reduction=60,
         call=_with("instance_norm", "weight", "bias")),
    Case("no_weight", "instance_norm", (_SMALL[0],), reduction=60),
    Case("estimates", "instance_norm", (Arg((3, 4, 6)), Arg((4,), -0.5, 0.5, grad=False),
                                        Arg((4,), 0.5, 2.0, grad=False), *_SMALL[1:]),
         {"use_input_stats": False}, reduction=60),
    Case("last_axis", "rms_norm", (Arg((3, 4, 6)), Arg((6,), 0.5, 2.0)), reduction=30,
         call=_with("rms_norm", "weight", normalized_shape=(6,))),
    Case("two_axes", "rms_norm", (Arg((3, 4, 6)),), {"normalized_shape": (4, 6), "eps": 1e-3},
         reduction=60),
    Case("odd_size", "local_response_norm", (Arg((2, 6, 3, 2)),), {"size": 5, "alpha": 0.5},
         reduction=20),
    Case("even_size", "local_response_norm", (Arg((2, 6, 4)),), {"size": 4, "k": 2.0},
         reduction=20),
    Case("training", "alpha_dropout", (Arg((4, 9)),), {"training": True},
         call=_drawn("alpha_dropout")),
    Case("everything", "alpha_dropout", (Arg((4, 9)),), {"p": 1.0, "training": True}),
    Case("training", "feature_alpha_dropout", (Arg((4, 9, 2)),), {"training": True},
         call=_drawn("feature_alpha_dropout")),
    Case("training", "drop_connect", (Arg((4, 5)), Arg((3, 5)), Arg((3,))), reduction=16,
         call=_drawn("drop_connect")),
    Case("batch", "bilinear", (Arg((2, 3, 4)), Arg((2, 3, 5)), Arg((6, 4, 5)), Arg((6,))),
         reduction=60),
    *[
        Case(f"{mode}_of_a_matrix", "embedding_bag", (Arg((4, 3), 0, 6, "index"), _ROWS),
             reduction=8, call=_bag(mode=mode))
        for mode in ("sum", "mean", "max")
    ],
    *[
        Case(f"{mode}_with_offsets", "embedding_bag", (Arg((7,), 0, 6, "index"), _ROWS),
             reduction=8, call=_bag(mode=mode, offsets=[0, 2, 2, 5], padding_idx=1))
        for mode in ("sum", "mean", "max")
    ],
    Case("weighted", "embedding_bag", (Arg((7,), 0, 6, "index"), _ROWS, Arg((7,), 0.5, 2.0)),
         reduction=8, call=_bag(mode="sum", offsets=[0, 3, 7], include_last_offset=True)),
    Case("no_indices", "embedding_bag", (Arg((0,), 0, 6, "index"), _ROWS), second=False,
         call=_bag(offsets=[0, 0])),
]  # fmt: skip
