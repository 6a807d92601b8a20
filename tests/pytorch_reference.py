"""Calls that mean the same in tilegrad and in PyTorch, and what PyTorch makes of them.

``python tests/pytorch_reference.py``, where PyTorch is installed, renews pytorch_reference.json:
for each call the shape of the result, its product with fixed weights, and those of the gradients.
tests/test_pytorch_reference.py compares.
"""

import json
import math
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_suffix(".json")


def wave(shape, i):
    """Numbers in [-2, 2] without order or ties."""
    n = math.prod(shape)
    return (2 * np.sin(1.3 * np.arange(n) + 0.7 * i + 0.1)).reshape(shape)


def inputs_of(row):
    """The arrays of a row: shapes are floats, (high, shape) class indices, lists themselves."""
    out = {}
    for i, (name, spec) in enumerate(row[1].items()):
        if isinstance(spec, list):
            out[name] = np.array(spec)
        elif len(spec) == 2 and isinstance(spec[1], tuple):
            high, shape = spec
            out[name] = (np.arange(math.prod(shape)) * 7 + 3).reshape(shape) % high
        else:
            out[name] = wave(spec, i)
    return out


def evaluate(lib, from_numpy, row):
    """[shapes, <weights, results>, <weights, gradient> per floating input] of a row."""
    xs = {}
    for name, a in inputs_of(row).items():
        xs[name] = from_numpy(np.array(a, order="C"))
        if a.dtype == np.float64:
            xs[name].requires_grad_()

    def fill(module):
        module.double()
        for i, p in enumerate(module.parameters()):
            p.data = from_numpy(wave(tuple(p.shape), i + 5).copy())
        return module

    def const(*shape):
        return from_numpy(wave(shape, 9) ** 2 + 0.1)

    names = {"F": lib.nn.functional, "nn": lib.nn, "lib": lib, "fill": fill, "const": const, **xs}
    y = eval(row[0], names)
    ys = list(y) if isinstance(y, (tuple, list)) else [y]
    total, shapes = 0.0, []
    for t in ys:
        weights = np.cos(0.9 * np.arange(math.prod(t.shape)) + 0.3).reshape(tuple(t.shape))
        total = total + (t * from_numpy(np.asarray(weights))).sum()
        shapes.append([int(n) for n in t.shape])
    total.backward()
    slopes = []
    for x in xs.values():
        if x.requires_grad:
            g = np.zeros(tuple(x.shape)) if x.grad is None else np.asarray(x.grad.numpy())
            slopes.append(float((g.reshape(-1) * np.cos(0.5 * np.arange(g.size))).sum()))
    return [shapes, float(total.item()), slopes]


def rows(inputs, *calls):
    return [(call, inputs) for call in calls]


X = {"x": (3, 8)}
IMAGE = {"x": (2, 3, 4, 5)}
PAIR = {"x": (4, 5), "y": (4, 5)}
ROWS = [
    *[
        (f"F.{name}", X)
        for name in (
            "relu6(x * 4)", "celu(x, 0.7)", "selu(x)", "mish(x)", "hardtanh(x)", "logsigmoid(x)",
            "hardtanh(x, -0.3, 1.2)", "hardsigmoid(x * 3)", "hardswish(x * 3)", "hardshrink(x)",
            "softshrink(x, 0.3)", "tanhshrink(x)", "softsign(x)", "threshold(x, 0.1, 7.0)",
            "prelu(x, lib.linspace(0.1, 0.8, 8, dtype=lib.float64))", "rrelu(x)", "glu(x)",
            "glu(x, 1)", "softmin(x, 0)",
        )
    ],
    ("F.relu6(x)", {"x": [0.0, 6.0, 3.0]}),
    ("F.hardtanh(x)", {"x": [-1.0, 1.0, 0.5]}),
    ("F.celu(x)", {"x": [0.0, -0.0, -40.0]}),
    ("F.hardshrink(x)", {"x": [0.5, -0.5, 0.0]}),
    ("F.softshrink(x)", {"x": [0.5, -0.5, 0.0]}),
    ("F.threshold(x, 1.0, 2.0)", {"x": [1.0, 0.9]}),
    ("F.logsigmoid(x)", {"x": [0.0, -300.0, 300.0, -30.0]}),
    ("F.softsign(x)", {"x": [0.0, -2.0]}),
    ("nn.PReLU(3).double()(x)", IMAGE),
    ("nn.Softmax2d()(x)", IMAGE),
    ("nn.RReLU(0.1, 0.9).eval()(x)", X),
    *rows(
        PAIR,
        "F.smooth_l1_loss(x, y, beta=0.7)", "F.huber_loss(x, y, 'sum', 0.7)",
        "nn.SmoothL1Loss(reduction='none')(x, y)", "nn.HuberLoss(delta=2.0)(x, y)",
        "F.mse_loss(x, y, weight=const(4, 5))", "F.l1_loss(x, y, weight=const(4, 5))",
        "F.l1_loss(x, y, False)", "F.huber_loss(x, y, weight=const(4, 5))",
        "F.binary_cross_entropy(x.sigmoid(), y.sigmoid())",
        "F.binary_cross_entropy(x.sigmoid(), y.sigmoid(), weight=const(5))",
        "nn.BCEWithLogitsLoss(reduction='none')(x * 9, y.sigmoid())",
        "F.binary_cross_entropy_with_logits(x, y.sigmoid(), const(4, 5), pos_weight=const(5))",
        "F.kl_div(x, y.softmax(1), reduction='batchmean')", "F.kl_div(x, y, log_target=True)",
        "F.kl_div(x, (y - 1).clamp(min=0).detach(), reduction='sum')",
        "F.poisson_nll_loss(x, y.exp(), full=True)",
        "F.poisson_nll_loss(x.exp(), y.exp(), log_input=False, full=True)",
        "nn.PoissonNLLLoss(eps=0.1, log_input=False)(x.exp(), y.exp())",
        "F.gaussian_nll_loss(x, y, y.exp())", "F.gaussian_nll_loss(x, y, y[:, 0].exp(), True)",
        "F.gaussian_nll_loss(x, y, y[:, :1].exp(), reduction='none')",
        "F.gaussian_nll_loss(x, x * 2, (y - 1).clamp(min=0))",
        "F.soft_margin_loss(x * 9, y.sign().detach())", "F.hinge_embedding_loss(x, y.sign(), 0.7)",
        "nn.HingeEmbeddingLoss(reduction='sum')(x, y.sign())",
        "F.margin_ranking_loss(x, y, (x * y).sign(), 0.2)", "nn.MarginRankingLoss()(x, y, -y)",
        "F.cosine_embedding_loss(x, y, y[:, 0].sign(), -0.3)",
        "nn.CosineEmbeddingLoss()(x[0], y[0], lib.tensor(1))",
        "nn.MultiLabelSoftMarginLoss(reduction='none')(x, y.sigmoid())",
        "F.multilabel_soft_margin_loss(x, y.sigmoid(), y[0].exp().detach())",
        "F.triplet_margin_loss(x, y, x[:, [1, 2, 0, 4, 3]])",
        "F.triplet_margin_loss(x, y, x + y, 2.0, 3, 0.01, True)",
        "nn.TripletMarginWithDistanceLoss(margin=0.5, swap=True)(x, y, x.sin())",
        "nn.CosineSimilarity()(x, y)", "F.cosine_similarity(x, y[:, :1], 0)",
        "F.pairwise_distance(x, y)", "nn.PairwiseDistance(1.5, 0.1, True)(x, y)",
        "F.pdist(x)", "F.pdist(x, 1)", "F.pdist(x, float('inf'))", "F.pdist(x, 3.0)",
    ),
    ("F.binary_cross_entropy(x, y.detach())", {"x": [0.0, 1.0, 0.0], "y": [0.0, 1.0, 1.0]}),
    ("F.cosine_similarity(x, y, 0)", {"x": [0.0, 0.0], "y": [1.0, 2.0]}),
    ("F.hinge_embedding_loss(x, y)", {"x": [1.0, 2.0, 0.5], "y": [-1, 1, -1]}),
    ("F.multi_margin_loss(x, i)", {"x": (4, 5), "i": (5, (4,))}),
    ("F.multi_margin_loss(x, i, 2, 0.5, x[0].exp().detach(), reduction='none')",
     {"x": (4, 5), "i": (5, (4,))}),
    ("nn.MultiMarginLoss()(x, i)", {"x": (5,), "i": (5, ())}),
    ("F.multilabel_margin_loss(x, i)",
     {"x": (3, 4), "i": [[3, 0, -1, 1], [2, 2, 1, -1], [-1, 0, 0, 0]]}),
    ("nn.MultiLabelMarginLoss(reduction='sum')(x, i)", {"x": (4,), "i": [1, 0, -1, 1]}),
    *rows(
        {"x": (7, 3, 5), "i": [[1, 2, 2], [3, 3, 3], [4, 1, 0]]},
        "F.ctc_loss(x.log_softmax(2), i, (7, 6, 7), (3, 3, 1))",
        "F.ctc_loss(x.log_softmax(2), i, (7, 7, 7), (3, 3, 2), reduction='none')",
        "F.ctc_loss(x.log_softmax(2), i, (5, 4, 7), (3, 3, 2), zero_infinity=True)",
        "nn.CTCLoss(4, 'sum')(x.log_softmax(2), i[:2].reshape(-1)[:5], (7, 7, 4), (2, 0, 3))",
        "nn.CTCLoss(0)(x[:, 0].log_softmax(1), i[0], lib.tensor(7), lib.tensor(3))",
    ),
    *rows(
        IMAGE,
        "F.unfold(x, (2, 3), 1, 1, (1, 2))", "nn.Unfold(2, dilation=2)(x)",
        "F.fold(F.unfold(x, 2), (4, 5), 2)", "F.fold(F.unfold(x, 3, 1, 1, 2), (4, 5), 3, 1, 1, 2)",
        "nn.Fold((4, 6), 2, stride=2)(x.reshape(2, 12, 5)[:, :, [0, 1, 2, 3, 4, 1]])",
        "F.lp_pool2d(x.exp(), 3, 2)", "nn.LPPool2d(2, 2, 1, True)(x)",
        "nn.LPPool1d(2, 3)(x[0])", "nn.LPPool3d(2, (1, 2, 2))(x)",
        "F.max_unpool2d(*F.max_pool2d(x[..., :4], 2, return_indices=True), 2)",
        "nn.MaxUnpool2d(2, 2)(*F.max_pool2d(x, 2, return_indices=True), output_size=(4, 5))",
        "F.max_unpool1d(*F.max_pool1d(x[0, :, 0], 3, 2, return_indices=True), 3, 2)",
        "F.fractional_max_pool2d(x, 2, (2, 3), _random_samples=const(2, 3, 2) / 5)",
        "nn.FractionalMaxPool2d((1, 2), output_ratio=0.6, _random_samples=const(2, 3, 2) / 5)(x)",
        "nn.FractionalMaxPool3d((1, 2, 2), (2, 2, 3), _random_samples=const(1, 2, 3) / 5)(x[None])",
        "F.pixel_unshuffle(x[..., :4], 2)", "nn.PixelShuffle(2)(x.reshape(2, 12, 5, 1))",
        "F.channel_shuffle(x.reshape(2, 6, 5, 2), 3)", "nn.ChannelShuffle(3)(x)",
        *[f"F.interpolate(x, {how})" for how in (
            "(7, 3)", "scale_factor=1.7", "(6, 7), mode='nearest-exact'",
            "scale_factor=(2, 0.7), mode='nearest-exact'", "(7, 3), mode='bilinear'",
            "scale_factor=(1.3, 2.1), mode='bilinear'",
            "scale_factor=1.3, mode='bilinear', recompute_scale_factor=True",
            "(7, 3), mode='bilinear', align_corners=True", "(7, 3), mode='bicubic'",
            "scale_factor=0.61, mode='bicubic'", "(1, 9), mode='bicubic', align_corners=True",
            "(3, 8), mode='area'",
        )],
        "F.interpolate(x[0], 7, mode='linear')", "F.interpolate(x[None], (3, 5, 2), mode="
        "'trilinear')", "F.interpolate(x[None], scale_factor=2.5, mode='nearest')",
        "nn.Upsample(scale_factor=2, mode='bilinear')(x)", "nn.UpsamplingNearest2d(size=7)(x)",
        "nn.UpsamplingBilinear2d(scale_factor=2)(x)",
        "nn.CircularPad2d((1, 2, 3, 0))(x)", "nn.ReflectionPad2d((1, 2, 3, 0))(x)",
        "nn.ReplicationPad2d((1, 2, 3, 0))(x)", "nn.ConstantPad2d((1, -1, 3, 0), 2.5)(x)",
        "nn.ZeroPad2d(2)(x)", "nn.ReplicationPad3d(1)(x)", "nn.CircularPad3d(2)(x[None])",
        "nn.CircularPad1d(2)(x[0])",
        "F.instance_norm(x)", "fill(nn.InstanceNorm2d(3, affine=True))(x)",
        "nn.InstanceNorm2d(3, track_running_stats=True).double().eval()(x)",
        "fill(nn.InstanceNorm1d(3, affine=True))(x[0].reshape(3, 20))",
        "F.rms_norm(x, (5,))", "fill(nn.RMSNorm((4, 5), 0.1))(x)",
        "F.local_response_norm(x, 2, 0.5, 0.6, 2.0)", "nn.LocalResponseNorm(3, 0.3)(x[0])",
        "F.affine_grid(x[:, 0, :2, :3], (2, 1, 3, 4))",
        "F.affine_grid(x[:1, 0:1, :3, :4].reshape(1, 3, 4), (1, 1, 2, 3, 4), True)",
        "F.alpha_dropout(x, 0.3, False)", "nn.AlphaDropout(1.0)(x)",
    ),
    *rows(
        {"x": (2, 3, 4, 5), "g": (2, 6, 3, 2)},
        *[
            f"F.grid_sample(x, g{mode}, padding_mode='{padding}', align_corners={align})"
            for mode in (" * 0.7", " * 4", " * 0.7, mode='nearest'")
            for padding in ("zeros", "border", "reflection")
            for align in (False, True)
        ],
    ),
    ("F.grid_sample(x, g, align_corners=False)", {"x": (1, 2, 3, 4, 2), "g": (1, 2, 2, 3, 3)}),
    ("fill(nn.Bilinear(3, 4, 5))(x, y)", {"x": (2, 3), "y": (2, 4)}),
    ("fill(nn.Conv2d(3, 2, 3, padding=1, padding_mode='circular'))(x)", IMAGE),
    ("F.bilinear(x, y, w)", {"x": (2, 6, 3), "y": (2, 6, 4), "w": (5, 3, 4)}),
    *rows(
        {"w": (6, 3), "i": (6, (7,))},
        *[f"F.embedding_bag(i, w, lib.tensor([0, 2, 2, 5]), mode='{m}')"
          for m in ("sum", "mean", "max")],
        "F.embedding_bag(i[:6].reshape(2, 3), w)", "F.embedding_bag(i, w, lib.tensor([0, 3]), mode="
        "'sum', per_sample_weights=const(7))",
        "F.embedding_bag(i, w, lib.tensor([0, 3, 7]), mode='mean', include_last_offset=True, "
        "padding_idx=3)",
        "fill(nn.EmbeddingBag(6, 3, mode='max', padding_idx=2))(i, lib.tensor([0, 4])) * w[0]",
        "F.embedding(i, w, padding_idx=2)",
    ),
    *rows(
        X,
        "nn.utils.weight_norm(fill(nn.Linear(8, 3)))(x)",
        "nn.utils.weight_norm(fill(nn.Linear(8, 3)), dim=None)(x)",
        "nn.utils.spectral_norm(fill(nn.Linear(8, 3)), n_power_iterations=300)(x)",
        "nn.utils.parameters_to_vector(fill(nn.Linear(8, 3)).parameters()) * x.sum()",
    ),
]  # fmt: skip


if __name__ == "__main__":
    import torch

    rows = {row[0] + json.dumps(row[1]): evaluate(torch, torch.from_numpy, row) for row in ROWS}
    table = {"source": f"PyTorch {torch.__version__.partition('+')[0]}", "rows": rows}
    lines = [f"{json.dumps(key)}: {json.dumps(row)}" for key, row in table["rows"].items()]
    head = f'{{"source": "{table["source"]}", "rows": {{\n'
    FILE.write_text(head + ",\n".join(lines) + "\n}}\n")
