"""The zip-code network of 1989 and what was learnt since, on digits of MNIST.

    python examples/lecun1989.py --data FOLDER [--quick] [--seeds 5] [--only PART ...]
        [--picture FILE]

FOLDER holds the four IDX files of MNIST, gz or not. 7,291 digits to learn from and 2,007 to test
are drawn from it, resized to 16 x 16 and scaled to [-1, 1]; a seed chooses the digits, the first
weights and everything random after that. Sources: LeCun et al., Backpropagation applied to
handwritten zip code recognition, 1989 (5.0 % of its test set wrong, after three days of training
on a SUN-4/260); the figures beside ours are of A. Karpathy, Deep Neural Nets: 33 years ago and 33
years from now, 2022, one run each.
"""

import argparse
import time
from typing import NamedTuple

import numpy as np

import tilegrad as tg
from tilegrad.data import MNIST
from tilegrad.models import ZipCodeNet
from tilegrad.nn import functional as F


class Variant(NamedTuple):
    name: str
    published: float  # % of the test set
    passes: int
    digits: int = 7291
    modern: bool = True  # cross-entropy and AdamW for squared error and SGD
    shift: bool = False  # every image moves by at most a pixel, anew in every pass
    relu: bool = False  # for tanh, with dropout before the third layer


VARIANTS = [
    Variant("base", 4.14, 23, modern=False),
    Variant("+ cross-entropy, AdamW", 3.59, 46),
    Variant("+ shifts by a pixel", 2.19, 60, shift=True),
    Variant("+ ReLU, dropout", 1.59, 80, shift=True, relu=True),
    Variant("more digits, as in 1989", 3.05, 23, 50_000, modern=False),
    Variant("all together", 1.25, 40, 50_000, shift=True, relu=True),
]


class Net(ZipCodeNet):
    """The layers of 1989 with an output for cross-entropy, and ReLU and dropout if asked for."""

    def __init__(self, relu):
        super().__init__()
        self.f = F.relu if relu else self.squash
        self.drop = tg.nn.Dropout(0.25 if relu else 0.0)

    def forward(self, x):
        edge = (2, 2, 2, 2)
        x = self.f(self.h1(F.pad(x, edge, value=-1.0)))
        x = self.f(self.h2(F.pad(x, edge, value=-1.0)))
        return self.output(self.f(self.h3(self.drop(x.flatten(1)))))


def draw(mnist, count, rng):
    """count digits as images (count, 1, 16, 16) in [-1, 1], and their labels."""
    chosen = tg.from_numpy(rng.permutation(len(mnist))[:count])
    images, labels = mnist.images[chosen], mnist.labels[chosen]
    return 2.0 * F.interpolate(images, (16, 16), mode="bilinear") - 1.0, labels


def shifted(images, rng):
    """Each image moved by -1, 0 or 1 pixels in both directions."""
    padded = np.pad(images.numpy()[:, 0], ((0, 0), (1, 1), (1, 1)), constant_values=-1.0)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (16, 16), (1, 2))
    down, right = rng.integers(0, 3, (2, len(images)))
    return tg.from_numpy(windows[np.arange(len(images)), down, right][:, None])


def wrong(model, images, labels):
    """The percentage of the digits that the model takes for others."""
    with tg.no_grad():
        found = tg.cat([model(x).argmax(1) for x in images.split(1000)])
    return 100 * (found != labels).float().mean().item()


def train(variant, train_set, test_set, seed):
    """After every pass: the percentages of wrong digits in the test set and the training set."""
    rng = np.random.default_rng(seed)
    tg.manual_seed(seed)
    images, labels = draw(train_set, variant.digits, rng)
    test = draw(test_set, 2007, rng)
    if variant.modern:
        model, loss, targets = Net(variant.relu), F.cross_entropy, labels
        optimizer = tg.optim.AdamW(model.parameters(), lr=3e-4)
    else:
        model, loss, targets = ZipCodeNet(), F.mse_loss, 2.0 * F.one_hot(labels, 10) - 1.0
        optimizer = tg.optim.SGD(model.parameters(), lr=0.03)
    last = 1 / 3 if variant.modern else 1.0
    schedule = tg.optim.lr_scheduler.LinearLR(optimizer, 1.0, last, variant.passes - 1)

    @tg.capture
    def step(x, y):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()

    curve = []
    for _ in range(variant.passes):
        model.train()
        seen = shifted(images, rng) if variant.shift else images
        for x, y in zip(seen.split(1), targets.split(1), strict=True):
            step(x, y)
        schedule.step()
        model.eval()
        curve.append((wrong(model, *test), wrong(model, images, labels)))
    print("  seed {}: {:.2f} %, of the digits seen {:.2f} %".format(seed, *curve[-1]), flush=True)
    return np.array(curve).T


def picture(curves, file):
    """Over the passes: the mean of each variant, dotted for its training set, and the range."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for i, (name, (test, seen)) in enumerate(curves.items()):
        passes = np.arange(1, test.shape[1] + 1)
        axes.plot(passes, test.mean(0), f"C{i}", label=name)
        axes.plot(passes, seen.mean(0), f"C{i}:")
        axes.fill_between(passes, test.min(0), test.max(0), color=f"C{i}", alpha=0.2)
    axes.set(xlabel="passes", ylabel="digits wrong (%)", xscale="log", ylim=(0, 10))
    axes.legend()
    figure.savefig(file, dpi=120)


def main(data, quick=False, seeds=5, only=(), file=None):
    begun = time.perf_counter()
    sets = MNIST(data), MNIST(data, train=False)
    chosen = [v for v in VARIANTS if not only or any(part in v.name for part in only)]
    if quick:
        chosen, seeds = [VARIANTS[0]._replace(passes=3)], 1
    curves = {}
    for v in chosen:
        print(f"{v.name}: {v.passes} passes", flush=True)
        began = time.perf_counter()
        curves[v.name] = np.stack([train(v, *sets, seed) for seed in range(seeds)], 1)
        last, took = curves[v.name][0, :, -1], time.perf_counter() - began
        spread = last.std(ddof=1) if seeds > 1 else 0.0
        print(f"  {last.mean():.2f} +- {spread:.2f} % (published {v.published} %), {took:.1f} s")
    if file:
        picture(curves, file)
    total = time.perf_counter() - begun
    print(f"{total:.1f} s in all; a SUN-4/260 took three days ({3 * 86400} s) for one base network")
    return curves


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="folder with the files of MNIST")
    parser.add_argument("--quick", action="store_true", help="one base network, three passes")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=(), help="variants whose name has this part")
    parser.add_argument("--picture", metavar="FILE", help="the curves, drawn by matplotlib")
    args = parser.parse_args()
    main(args.data, args.quick, args.seeds, args.only, args.picture)
