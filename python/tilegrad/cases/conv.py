"""Rows of convolution: each names the reason it could go wrong."""

from __future__ import annotations

import math
from typing import Any

from . import Arg, Case


def _row(
    reason: str, op: str, x: tuple[int, ...], w: tuple[int, ...], *, bias: int = 0,
    layout: str = "C", **params: Any,
) -> Case:  # fmt: skip
    args = [Arg(x, layout=layout), Arg(w)] + ([Arg((bias,))] if bias else [])
    terms = math.prod(w[1:]) if "transpose" not in op else math.prod(w) // max(w[1], 1)
    # Gradients of the weight sum over every position.
    reduction = max(terms, math.prod(x[2:]) * max(x[0], 1), 1)
    return Case(reason, op, tuple(args), params, exact=True, reduction=reduction)


def _large(reason: str, x: tuple[int, ...], w: tuple[int, ...], **params: Any) -> Case:
    stride, padding = params.get("stride", 1), params.get("padding", 0)
    span = params.get("dilation", 1)
    out = [
        (n + 2 * padding - span * (k - 1) - 1) // stride + 1
        for n, k in zip(x[2:], w[2:], strict=True)
    ]
    y = x[0] * w[0] * math.prod(out)
    return Case(
        reason, f"conv{len(out)}d", (Arg(x), Arg(w), Arg((w[0],))), params, second=False,
        differentiable=False, bench=True, reduction=math.prod(w[1:]),
        flops=2.0 * y * math.prod(w[1:]), bytes=4.0 * (math.prod(x) + math.prod(w) + y),
    )  # fmt: skip


CASES = [
    _row("first_layer", "conv2d", (2, 1, 12, 12), (3, 1, 5, 5), bias=3, padding=2),
    _row("second_layer", "conv2d", (2, 3, 7, 7), (4, 3, 5, 5), bias=4),
    _row("kernel_covers_input", "conv2d", (3, 4, 3, 3), (5, 4, 3, 3), bias=5),
    _row("pointwise_1x1", "conv2d", (2, 5, 4, 3), (6, 5, 1, 1), bias=6),
    _row("pointwise_strided", "conv2d", (2, 3, 5, 6), (4, 3, 1, 1), stride=2),
    _row("3x3_channel_tail", "conv2d", (1, 17, 5, 4), (15, 17, 3, 3), padding=1),
    _row("two_blocks_of_channels", "conv2d", (1, 30, 3, 3), (2, 30, 3, 3), padding=1),
    _row("strided", "conv2d", (2, 3, 7, 8), (4, 3, 3, 3), stride=(2, 3), padding=1),
    _row("stride_over_kernel", "conv2d", (1, 2, 7, 8), (3, 2, 2, 2), stride=3),
    _row("dilated", "conv2d", (2, 2, 8, 9), (3, 2, 3, 2), dilation=(2, 3), padding=2),
    _row("dilated_strided", "conv2d", (1, 2, 9, 9), (3, 2, 3, 3), dilation=2, stride=3, padding=1),
    _row("grouped", "conv2d", (2, 4, 5, 5), (6, 2, 3, 3), bias=6, groups=2, padding=1),
    _row("depthwise", "conv2d", (2, 5, 6, 5), (5, 1, 3, 3), groups=5, padding=1),
    _row("depthwise_multiplier", "conv2d", (1, 3, 6, 5), (6, 1, 3, 3), groups=3, stride=2),
    _row("kernel_smaller_than_padding", "conv2d", (2, 2, 2, 2), (3, 2, 2, 2), padding=3),
    _row("asymmetric_padding", "conv2d", (2, 2, 4, 5), (3, 2, 3, 3), padding=((0, 2), (3, 1))),
    _row("same_even_kernel", "conv2d", (1, 2, 5, 6), (3, 2, 4, 2), padding="same"),
    _row("valid", "conv2d", (1, 2, 5, 6), (3, 2, 4, 2), padding="valid"),
    _row("empty_batch", "conv2d", (0, 2, 5, 5), (3, 2, 3, 3), bias=3),
    _row("no_input_channels", "conv2d", (2, 0, 5, 5), (3, 0, 3, 3), bias=3),
    _row("one_sample", "conv2d", (2, 5, 5), (3, 2, 3, 3), bias=3),
    _row("non_contiguous", "conv2d", (2, 3, 6, 5), (4, 3, 3, 3), layout="strided", padding=1),
    _row("reversed", "conv2d", (2, 3, 6, 5), (4, 3, 3, 3), layout="reversed"),
    _row("channels_last", "conv2d", (2, 5, 6, 4), (4, 5, 3, 3), layout="channels_last", padding=1),
    _row("channels_last_depthwise", "conv2d", (2, 5, 6, 4), (5, 1, 3, 3), layout="channels_last",
         groups=5),
    _row("signal", "conv1d", (2, 3, 11), (4, 3, 5), bias=4, padding=2),
    _row("strided", "conv1d", (2, 3, 11), (4, 3, 3), stride=2, dilation=2),
    _row("same", "conv1d", (2, 4, 9), (4, 2, 4), padding="same", groups=2),
    _row("channels_last", "conv1d", (2, 3, 11), (4, 3, 3), layout="channels_last"),
    _row("volume", "conv3d", (1, 2, 4, 5, 4), (3, 2, 2, 3, 2), bias=3, padding=1),
    _row("strided", "conv3d", (1, 2, 5, 4, 6), (2, 1, 2, 2, 3), stride=(2, 1, 2), groups=2),
    _row("adjoint", "conv_transpose2d", (2, 3, 4, 5), (3, 2, 3, 3), bias=2),
    _row("strided", "conv_transpose2d", (2, 3, 3, 4), (3, 2, 3, 3), stride=2, padding=1,
         output_padding=1),
    _row("stride_over_kernel", "conv_transpose2d", (1, 2, 3, 3), (2, 3, 2, 2), stride=3),
    _row("grouped_dilated", "conv_transpose2d", (1, 4, 3, 3), (4, 1, 2, 2), groups=2, dilation=2),
    _row("signal", "conv_transpose1d", (2, 3, 5), (3, 2, 4), bias=2, stride=2, padding=1),
    _row("volume", "conv_transpose3d", (1, 2, 3, 2, 3), (2, 3, 2, 2, 2), stride=2),
    _large("lenet_first", (64, 1, 28, 28), (6, 1, 5, 5), padding=2),
    _large("lenet_second", (64, 6, 14, 14), (16, 6, 5, 5)),
    _large("3x3_64_channels", (4, 64, 56, 56), (64, 64, 3, 3), padding=1),
    _large("3x3_256_channels", (4, 256, 14, 14), (256, 256, 3, 3), padding=1),
    _large("3x3_512_channels", (4, 512, 7, 7), (512, 512, 3, 3), padding=1),
    _large("7x7_strided_stem", (2, 3, 224, 224), (64, 3, 7, 7), stride=2, padding=3),
    _large("pointwise_1x1_wide", (4, 64, 56, 56), (256, 64, 1, 1)),
]  # fmt: skip

# Layers of well-known networks, which benchmarks/conv_vs_torch.py times and test_conv_kernels.py
# holds against float64. Batches are such that a call takes a few milliseconds.
LAYERS = [
    _large("lecun1989_1", (1, 1, 16, 16), (12, 1, 5, 5), stride=2, padding=2),
    _large("lecun1989_2", (1, 12, 8, 8), (12, 12, 5, 5), stride=2, padding=2),
    _large("lenet_1", (64, 1, 28, 28), (6, 1, 5, 5), padding=2),
    _large("lenet_2", (64, 6, 14, 14), (16, 6, 5, 5)),
    _large("alexnet_1", (4, 3, 224, 224), (96, 3, 11, 11), stride=4, padding=2),
    _large("alexnet_2", (4, 96, 27, 27), (256, 48, 5, 5), padding=2, groups=2),
    _large("alexnet_3", (8, 256, 13, 13), (384, 256, 3, 3), padding=1),
    _large("vgg_224", (1, 64, 224, 224), (64, 64, 3, 3), padding=1),
    _large("vgg_56", (1, 256, 56, 56), (256, 256, 3, 3), padding=1),
    _large("vgg_14", (4, 512, 14, 14), (512, 512, 3, 3), padding=1),
    _large("googlenet_1x1", (8, 192, 28, 28), (64, 192, 1, 1)),
    _large("googlenet_5x5", (8, 16, 28, 28), (32, 16, 5, 5), padding=2),
    _large("resnet_stem", (4, 3, 224, 224), (64, 3, 7, 7), stride=2, padding=3),
    _large("resnet_3x3_64", (4, 64, 56, 56), (64, 64, 3, 3), padding=1),
    _large("resnet_3x3_128", (4, 128, 28, 28), (128, 128, 3, 3), padding=1),
    _large("resnet_3x3_256", (8, 256, 14, 14), (256, 256, 3, 3), padding=1),
    _large("resnet_3x3_512", (8, 512, 7, 7), (512, 512, 3, 3), padding=1),
    _large("resnet_3x3_64_one_image", (1, 64, 56, 56), (64, 64, 3, 3), padding=1),
    _large("resnet_3x3_512_one_image", (1, 512, 7, 7), (512, 512, 3, 3), padding=1),
    _large("resnet_3x3_128_stride2", (4, 128, 56, 56), (128, 128, 3, 3), stride=2, padding=1),
    _large("resnet_3x3_256_stride2", (4, 256, 28, 28), (256, 256, 3, 3), stride=2, padding=1),
    _large("resnet_3x3_512_stride2", (4, 512, 14, 14), (512, 512, 3, 3), stride=2, padding=1),
    _large("resnet_1x1_64_256", (4, 64, 56, 56), (256, 64, 1, 1)),
    _large("resnet_1x1_256_64", (4, 256, 56, 56), (64, 256, 1, 1)),
    _large("resnet_1x1_1024_256", (4, 1024, 14, 14), (256, 1024, 1, 1)),
    _large("resnet_1x1_512_2048", (8, 512, 7, 7), (2048, 512, 1, 1)),
    _large("resnet_1x1_256_512_stride2", (4, 256, 56, 56), (512, 256, 1, 1), stride=2),
    _large("resnet_1x1_1024_2048_stride2", (4, 1024, 14, 14), (2048, 1024, 1, 1), stride=2),
    _large("cifar_first", (64, 3, 32, 32), (16, 3, 3, 3), padding=1),
    _large("resnet20_16", (64, 16, 32, 32), (16, 16, 3, 3), padding=1),
    _large("resnet20_32", (64, 32, 16, 16), (32, 32, 3, 3), padding=1),
    _large("resnet20_64", (128, 64, 8, 8), (64, 64, 3, 3), padding=1),
    _large("depthwise_32", (4, 32, 112, 112), (32, 1, 3, 3), padding=1, groups=32),
    _large("depthwise_256", (8, 256, 14, 14), (256, 1, 3, 3), padding=1, groups=256),
    _large("depthwise_1024", (8, 1024, 7, 7), (1024, 1, 3, 3), padding=1, groups=1024),
    _large("grouped_4", (4, 128, 56, 56), (128, 4, 3, 3), padding=1, groups=32),
    _large("grouped_8", (4, 256, 28, 28), (256, 8, 3, 3), padding=1, groups=32),
    _large("dilated", (2, 128, 28, 28), (128, 128, 3, 3), padding=2, dilation=2),
    _large("signal", (8, 64, 1000), (64, 64, 9), padding=4),
    _large("volume", (1, 32, 16, 28, 28), (32, 32, 3, 3, 3), padding=1),
]  # fmt: skip
