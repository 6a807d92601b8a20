"""Layers and losses, with their arguments and inputs: ``test_pytorch_layers.py`` compares each
with PyTorch's."""

import numpy as np


def image(n, channels=4):
    """The shape of two images of n axes."""
    return (2, channels, *(7, 6, 5)[:n])


def of_axes(n):
    """Rows of the layers that exist for 1, 2 and 3 axes."""
    x, d = image(n), f"{n}d"
    linear = ("linear", "bilinear", "trilinear")[n - 1]
    size = (9, 8, 7)[:n]
    return [
        ("Conv" + d, (4, 6, 3), {"padding": 2, "dilation": 2, "groups": 2,
                                 "padding_mode": "circular"}, x),
        ("Conv" + d, (4, 6, 3), {"padding": "same", "padding_mode": "reflect"}, x),
        ("Conv" + d, (4, 6, 2), {"padding": "same"}, x),
        ("Conv" + d, (4, 6, 3), {"padding": "valid", "stride": 2}, x[1:]),
        ("ConvTranspose" + d, (4, 6, 3), {"stride": 2, "padding": 1, "output_padding": 1,
                                          "groups": 2, "dilation": 2}, x),
        ("ConvTranspose" + d, (4, 6, 3), {"bias": False}, x[1:]),
        *((kind + "Pool" + d, (2,), {"stride": 2, "padding": 1, "ceil_mode": True}, x)
          for kind in ("Max", "Avg")),
        ("MaxPool" + d, (2,), {"return_indices": True}, x[1:]),
        *(("Adaptive" + kind + "Pool" + d, (4,), {}, s)
          for kind in ("Avg", "Max") for s in (x, x[1:])),
        ("LPPool" + d, (2, 2), {"ceil_mode": True}, x),
        *((kind + "Pad" + d, args, {}, s)
          for kind in ("Circular", "Reflection", "Replication", "Zero")
          for args, s in ((((1, 2) * n,), x), ((1,), x[1:]))),
        ("ConstantPad" + d, ((1, -1) * n, 3.5), {}, x),
        ("BatchNorm" + d, (4,), {}, x),
        ("BatchNorm" + d, (4,), {"momentum": None, "affine": False}, x),
        ("InstanceNorm" + d, (4,), {}, x), ("InstanceNorm" + d, (4,), {}, x[1:]),
        ("InstanceNorm" + d, (4,), {"affine": True, "track_running_stats": True}, x),
        ("Dropout" + d, (0.0,), {}, x),
        ("Upsample", (), {"scale_factor": 2.5, "mode": linear}, x),
        ("Upsample", (), {"size": size, "mode": linear, "align_corners": True}, x),
        *(("Upsample", (), {"scale_factor": 1.7, "mode": mode}, x)
          for mode in ("nearest", "nearest-exact")),
    ]  # fmt: skip


def recurrent(kind):
    """Rows of a recurrent layer and of its cell."""
    deep = {"num_layers": 2, "bidirectional": True, "batch_first": True}
    return [
        *((kind, (3, 4), options, (5, 2, 3)) for options in ({}, deep, {"bias": False})),
        (kind, (3, 4), {}, (5, 3)), (kind + "Cell", (3, 4), {}, (2, 3)),
        (kind + "Cell", (3, 4), {"bias": False}, (3,)),
    ]  # fmt: skip


ATTENTION = [
    ("MultiheadAttention", (8, 2), {}, (5, 2, 8), (6, 2, 8), (6, 2, 8)),
    ("MultiheadAttention", (8, 2), {"kdim": 3, "vdim": 4, "batch_first": True, "add_bias_kv": True,
                                    "add_zero_attn": True}, (2, 5, 8), (2, 6, 3), (2, 6, 4)),
    ("MultiheadAttention", (8, 2), {"bias": False}, (5, 8), (6, 8), (6, 8)),
    *(row for options in ({}, {"norm_first": True, "activation": "gelu", "batch_first": True},
                          {"bias": False}) for row in (
        ("TransformerEncoderLayer", (8, 2, 16, 0.0), options, (5, 2, 8)),
        ("TransformerDecoderLayer", (8, 2, 16, 0.0), options, (5, 2, 8), (5, 2, 8)),
        ("Transformer", (8, 2, 1, 2, 16, 0.0), options, (5, 2, 8), (5, 2, 8)),
    )),
]  # fmt: skip
PLAIN = """CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh Identity LeakyReLU LogSigmoid
Mish PReLU ReLU ReLU6 SELU SiLU Sigmoid Softplus Softshrink Softsign Tanh Tanhshrink
Flatten""".split()
ROWS = [  # name, arguments, options, shapes of the inputs
    ("Linear", (4, 3), {}, (5, 4)),
    ("Linear", (4, 3), {"bias": False}, (2, 5, 4)),
    ("Conv1d", (2, 4, 3), {"stride": 2, "padding": 1}, (3, 2, 9)),
    ("Conv2d", (2, 4, 3), {"padding": "same", "groups": 2}, (3, 2, 7, 6)),
    ("Conv2d", (2, 4, (3, 2)), {"padding": (2, 1), "padding_mode": "reflect"}, (3, 2, 7, 6)),
    ("Conv2d", (2, 4, 3, 1, 1, 2), {"padding_mode": "replicate"}, (3, 2, 7, 6)),
    ("Conv3d", (2, 4, 2), {"bias": False}, (2, 2, 4, 5, 4)),
    ("ConvTranspose1d", (2, 3, 3), {"stride": 2, "output_padding": 1}, (2, 2, 5)),
    ("ConvTranspose2d", (4, 2, 3, (2, 3), 1), {"groups": 2, "dilation": 2}, (2, 4, 4, 5)),
    ("ConvTranspose3d", (2, 3, 2), {}, (1, 2, 3, 3, 2)),
    ("MaxPool1d", (2,), {}, (2, 3, 7)),
    ("MaxPool2d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True}, (2, 3, 7, 8)),
    ("MaxPool2d", (2,), {"return_indices": True, "dilation": 2}, (2, 3, 7, 8)),
    ("MaxPool3d", (2, 1), {}, (2, 3, 4, 5, 4)),
    ("AvgPool1d", (3, 2, 1), {}, (2, 3, 8)),
    ("AvgPool2d", (3, 2, 1, True, False), {}, (2, 3, 8, 7)),
    ("AvgPool2d", (2,), {"divisor_override": 3}, (2, 3, 8, 7)),
    ("AvgPool3d", (2,), {}, (2, 3, 4, 4, 5)),
    ("AdaptiveAvgPool1d", (3,), {}, (2, 3, 8)),
    ("AdaptiveAvgPool2d", ((3, None),), {}, (2, 3, 8, 7)),
    ("AdaptiveAvgPool3d", (2,), {}, (1, 2, 3, 4, 5)),
    ("AdaptiveMaxPool1d", (3,), {}, (2, 3, 8)),
    ("AdaptiveMaxPool2d", (3,), {"return_indices": True}, (2, 3, 8, 7)),
    ("AdaptiveMaxPool3d", (2,), {}, (1, 2, 3, 4, 5)),
    ("BatchNorm1d", (4,), {}, (6, 4)),
    ("BatchNorm1d", (4,), {"momentum": None}, (6, 4, 3)),
    ("BatchNorm2d", (3,), {"eps": 1e-3, "affine": False}, (4, 3, 5, 5)),
    ("BatchNorm2d", (3,), {"bias": False}, (4, 3, 5, 5)),
    ("BatchNorm3d", (2,), {"track_running_stats": False}, (3, 2, 3, 3, 3)),
    ("LayerNorm", (4,), {}, (3, 5, 4)),
    ("LayerNorm", ((5, 4),), {"bias": False}, (3, 5, 4)),
    ("GroupNorm", (2, 6), {}, (3, 6, 5)),
    ("GroupNorm", (3, 6), {"bias": False}, (3, 6, 5, 2)),
    *((name, (), {}, (4, 5)) for name in ("ReLU", "GELU", "SiLU", "Sigmoid", "Tanh", "Softplus")),
    ("LeakyReLU", (0.2,), {}, (4, 5)),
    ("ELU", (0.7,), {}, (4, 5)),
    ("GELU", ("tanh",), {}, (4, 5)),
    ("Softplus", (2, 1.5), {}, (4, 5)),
    ("Softmax", (1,), {}, (4, 5)),
    ("LogSoftmax", (-1,), {}, (4, 5)),
    ("Identity", (3,), {"unused": 1}, (4,)),
    ("Flatten", (), {}, (2, 3, 4)),
    ("Unflatten", (1, (2, 3)), {}, (2, 6)),
    ("Dropout", (0.0,), {}, (4, 5)),
    *((name, (), {}, (3, 4, 5)) for name in PLAIN),
    *(row for n in (1, 2, 3) for row in of_axes(n)),
    *(row for kind in ("RNN", "LSTM", "GRU") for row in recurrent(kind)), *ATTENTION,
    ("RNN", (3, 4), {"nonlinearity": "relu", "num_layers": 2}, (5, 2, 3)),
    ("RNNCell", (3, 4), {"nonlinearity": "relu"}, (2, 3)),
    ("Bilinear", (3, 4, 5), {}, (2, 3), (2, 4)),
    *(("Upsample", (), {"scale_factor": 1.7, "mode": "bicubic", **more}, (2, 3, 5, 6))
      for more in ({}, {"align_corners": True, "recompute_scale_factor": True})),
    ("UpsamplingNearest2d", (), {"scale_factor": 2}, (2, 3, 5, 6)),
    ("UpsamplingBilinear2d", (), {"size": (9, 7)}, (2, 3, 5, 6)),
    ("PixelShuffle", (2,), {}, (2, 8, 3, 3)), ("PixelUnshuffle", (2,), {}, (2, 3, 4, 6)),
    ("ChannelShuffle", (2,), {}, (2, 4, 3, 3)),
    ("Unfold", ((2, 3),), {"dilation": (2, 1), "padding": 1, "stride": (1, 2)}, (2, 3, 6, 7)),
    ("Fold", ((4, 5), (2, 2)), {"padding": 1, "stride": 2}, (2, 12, 9)),
    ("LayerNorm", ((4, 5),), {"elementwise_affine": False}, (3, 4, 5)),
    ("RMSNorm", (5,), {}, (3, 5)),
    ("RMSNorm", ((4, 5),), {"eps": 1e-3, "elementwise_affine": False}, (3, 4, 5)),
    ("LocalResponseNorm", (3,), {}, (2, 5, 4, 4)),
    ("LocalResponseNorm", (2,), {"alpha": 0.1, "k": 2.0}, (2, 5, 4)),
    ("GLU", (1,), {}, (3, 4, 5)), ("PReLU", (4,), {}, (3, 4, 5)),
    ("Threshold", (0.1, 20), {}, (3, 4)), ("Softmax2d", (), {}, (2, 3, 4, 4)),
    ("Softmin", (1,), {}, (3, 4)), ("CosineSimilarity", (), {}, (3, 4), (3, 4)),
    ("PairwiseDistance", (), {}, (3, 4), (3, 4)),
    ("PairwiseDistance", (1.0,), {"keepdim": True}, (3, 4), (3, 4)),
    ("AlphaDropout", (0.0,), {}, (4, 5)), ("FeatureAlphaDropout", (0.0,), {}, (2, 4, 5, 3)),
    ("RReLU", (0.2, 0.2), {}, (4, 5)),
]  # fmt: skip
LAYERS = [(name, args, options, shapes) for name, args, options, *shapes in ROWS]

REPR_OF_OURS = {"AvgPool1d", "RNNCell", "MultiheadAttention"} | {
    "Transformer", "TransformerEncoderLayer", "TransformerDecoderLayer"
}  # fmt: skip
"""AvgPool1d prints (2,) for 2 there, RNNCell its nonlinearity, and attention names the Linear of
its output by a class for quantization."""

# --- losses ---------------------------------------------------------------------------------------
REDUCTIONS = [{}, {"reduction": "sum"}, {"reduction": "none"}, {"size_average": False},
              {"reduce": False}]  # fmt: skip
_rng = np.random.default_rng(0)


def between(low, high, *shape):
    return _rng.uniform(low, high, shape).astype(np.float32)


def shares(*shape):
    """Probabilities over the last axis."""
    return _rng.dirichlet(np.ones(shape[-1]), shape[:-1]).astype(np.float32)


def signs(*shape):
    return np.sign(between(-1.0, 1.0, *shape))


X, Y, Z, INSIDE = (
    between(low, high, 6, 4) for low, high in ((-2, 2), (-2, 2), (-2, 2), (0.1, 0.9))
)
BITS = (Y > 0).astype(np.float32)
CLASS, SOME = np.array([0, 3, 1, 2, 2, 1]), np.array([0, 3, 1, -100, 2, 2])
WEIGHT = np.array([1.0, 2.0, 0.5, 3.0], np.float32)
SHARES = shares(6, 4)
MAPS, MAP = between(-2, 2, 2, 4, 3, 3), _rng.integers(0, 4, (2, 3, 3))
MAP_SHARES = shares(2, 3, 3, 4).transpose(0, 3, 1, 2).copy()
LABELS = np.array([[0, 2, -1, 1], [3, -1, 0, 0], [1, 0, 2, 3], [-1, 0, 0, 0], [2, -1, 1, 1],
                   [0, 1, -1, 2]])  # fmt: skip
LETTERS = np.log(shares(7, 3, 5))
ONE_CLASS = np.array(1)


def of_classes():
    """Rows with a target of classes, or of their probabilities."""
    for options in ({}, {"weight": WEIGHT}, {"ignore_index": 2},
                    {"weight": WEIGHT, "ignore_index": 1}):  # fmt: skip
        smooth = {**options, "label_smoothing": 0.2}
        for x, target in ((X, CLASS if "ignore_index" in options else SOME), (MAPS, MAP)):
            yield "NLLLoss", options, (x, target), 1
            yield "CrossEntropyLoss", options, (x, target), 1
            yield "CrossEntropyLoss", smooth, (x, target), 1
    for options in ({}, {"weight": WEIGHT}, {"label_smoothing": 0.1, "weight": WEIGHT}):
        yield "CrossEntropyLoss", options, (X, SHARES), 2
        yield "CrossEntropyLoss", options, (MAPS, MAP_SHARES), 2
    yield "NLLLoss", {}, (X[0], ONE_CLASS), 1
    yield "CrossEntropyLoss", {}, (X[0], ONE_CLASS), 1
    yield "CrossEntropyLoss", {}, (X[0], SHARES[0]), 2


def of_sequences():
    """Rows of CTC: targets in rows and joined, one that fits into no input, an empty one."""
    rows, joined = np.array([[1, 2, 2], [3, 1, 1], [2, 3, 1]]), np.array([1, 2, 2, 3, 1, 1])
    for options in ({}, {"blank": 4}, {"zero_infinity": True}):
        yield "CTCLoss", options, (LETTERS, rows, np.array([7, 6, 2]), np.array([3, 2, 3])), 1
        yield "CTCLoss", options, (LETTERS, joined, np.array([7, 7, 7]), np.array([3, 0, 3])), 1


LOSSES = [  # name, options, inputs, how many of them have gradients
    *of_classes(), *of_sequences(),
    *((name, {}, (X, Y), 2) for name in ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss")),
    ("SmoothL1Loss", {"beta": 0.0}, (X, Y), 2), ("SmoothL1Loss", {"beta": 0.3}, (X, Y), 2),
    ("HuberLoss", {"delta": 0.3}, (X, Y), 2),
    *(("PoissonNLLLoss", options, (abs(X), 3 * abs(Y)), 1) for options in (
        {}, {"log_input": False}, {"full": True}, {"log_input": False, "full": True, "eps": 1e-3})),
    *(("GaussianNLLLoss", options, (X, Y, var), 3) for options in ({}, {"full": True}, {"eps": 0.5})
      for var in (INSIDE, INSIDE[:, :1], INSIDE[:, 0])),
    ("BCELoss", {}, (INSIDE, BITS), 1),
    ("BCELoss", {"weight": WEIGHT}, (INSIDE, INSIDE[::-1].copy()), 2),
    ("BCELoss", {}, (np.array([0.0, 1.0, 1.0, 0.0], np.float32), BITS[0]), 1),
    ("BCEWithLogitsLoss", {}, (X, BITS), 2),
    ("BCEWithLogitsLoss", {"weight": WEIGHT, "pos_weight": WEIGHT[::-1].copy()}, (X, INSIDE), 2),
    ("KLDivLoss", {}, (X, SHARES), 1), ("KLDivLoss", {"log_target": True}, (X, np.log(SHARES)), 1),
    ("KLDivLoss", {"reduction": "batchmean"}, (X, SHARES), 1),
    ("HingeEmbeddingLoss", {}, (X, signs(6, 4)), 1),
    ("HingeEmbeddingLoss", {"margin": 0.4}, (X, signs(6, 4)), 1),
    ("MultiMarginLoss", {}, (X, CLASS), 1), ("MultiMarginLoss", {}, (X[0], ONE_CLASS), 1),
    ("MultiMarginLoss", {"p": 2, "margin": 0.5, "weight": WEIGHT}, (X, CLASS), 1),
    ("MultiLabelMarginLoss", {}, (X, LABELS), 1),
    ("MultiLabelMarginLoss", {}, (X[0], LABELS[0]), 1),
    ("MultiLabelSoftMarginLoss", {}, (X, BITS), 1),
    ("MultiLabelSoftMarginLoss", {"weight": WEIGHT}, (X, BITS), 1),
    ("SoftMarginLoss", {}, (X, signs(6, 4)), 1),
    ("CosineEmbeddingLoss", {"margin": 0.2}, (X, Y, signs(6)), 2),
    ("MarginRankingLoss", {"margin": 0.3}, (X[:, 0].copy(), Y[:, 0].copy(), signs(6)), 2),
    ("TripletMarginLoss", {}, (X, Y, Z), 3),
    ("TripletMarginLoss", {"margin": 2.0, "p": 1, "swap": True}, (X, Y, Z), 3),
    ("TripletMarginWithDistanceLoss", {"swap": True, "margin": 3.0}, (X, Y, Z), 3),
]  # fmt: skip
