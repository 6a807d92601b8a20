"""Transfer learning on CIFAR-10: ``python examples/transfer_cifar10.py FOLDER [--quick]``.

A small convolutional network learns eight of the ten classes and is saved. Loaded into a new
model, frozen, and with a new last layer it learns the other two, ship and truck, from a few images
of each. Beside it the same network learns the two from these images alone. FOLDER is whatever
``tilegrad.data.CIFAR10`` reads, an archive too; ``--quick`` takes fewer images and passes.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import tilegrad as tg
import tilegrad.nn as nn
import tilegrad.nn.functional as F
from tilegrad.data import CIFAR10, DataLoader, TensorDataset

NEW = ("ship", "truck")
FEW = (5, 20)  # images per new class


def images(folder, train, limit):
    """Images (N, 3, 32, 32) in [-1, 1] per class of a part, at most limit of each."""
    data = CIFAR10(folder, train)
    x, y = data.images.numpy(), data.labels.numpy()
    kinds = enumerate(data.classes)
    return {kind: x[y == i][:limit].astype(np.float32) / 127.5 - 1 for i, kind in kinds}


def dataset(pictures, kinds):
    """The images of these classes, labelled by their place among them."""
    x = np.concatenate([pictures[k] for k in kinds])
    y = np.repeat(np.arange(len(kinds)), [len(pictures[k]) for k in kinds])
    return TensorDataset(tg.from_numpy(x), tg.from_numpy(y))


def network(classes):
    """Four convolutions and a linear layer: 105,000 weights and some."""

    def block(n, m, stride):
        return nn.Conv2d(n, m, 3, stride, 1, bias=False), nn.BatchNorm2d(m), nn.ReLU()

    return nn.Sequential(
        *block(3, 32, 1), *block(32, 48, 2), *block(48, 64, 2), *block(64, 96, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, classes),
    )  # fmt: skip


def accuracy(model, data):
    model.eval()
    with tg.no_grad():
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in DataLoader(data, 500))
    return right / len(data)


def train(model, data, passes, batch, lr, frozen=False):
    """Adam with a falling rate on the parameters that require gradients."""
    optimizer = tg.optim.Adam([p for p in model.parameters() if p.requires_grad], lr)
    loader = DataLoader(data, batch, shuffle=True, drop_last=len(data) > batch)
    schedule = tg.optim.lr_scheduler.CosineAnnealingLR(optimizer, passes * len(loader))
    model.train(not frozen)  # the statistics of frozen batch norms stay as they are
    for _ in range(passes):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            schedule.step()
    return model


def transferred(file, classes):
    """The network saved in file with its weights frozen and a new last layer."""
    state = tg.load(file)
    model = network(len(state["classes"]))
    model.load_state_dict(state["model"])
    for p in model.parameters():
        p.requires_grad_(False)
    model[-1] = nn.Linear(model[-1].in_features, classes)
    return model


def main(folder, quick=False, file="cifar10_eight.safetensors"):
    start = time.perf_counter()
    tg.manual_seed(0)
    limit, passes, draws, steps = (200, 2, 2, 20) if quick else (2000, 4, 5, 60)
    pictures, unseen = images(folder, True, limit), images(folder, False, limit)
    old = [kind for kind in sorted(pictures) if kind not in NEW]
    print(f"images read: {time.perf_counter() - start:.0f} s")

    model = train(network(len(old)), dataset(pictures, old), passes, 64, 3e-3)
    tg.save({"classes": old, "model": model.state_dict()}, Path(file))
    share = accuracy(model, dataset(unseen, old))
    print(
        f"{len(old)} classes: {100 * share:.1f} % of the test images after {passes} passes, "
        f"{time.perf_counter() - start:.0f} s"
    )
    results = {}
    test = dataset(unseen, NEW)
    rng = np.random.default_rng(0)
    for few in FEW:
        found = []
        for _ in range(draws):  # each with other images and other initial weights
            some = {k: pictures[k][rng.choice(len(pictures[k]), few, False)] for k in NEW}
            few_images = dataset(some, NEW)
            head = train(transferred(file, len(NEW)), few_images, steps, 10, 3e-3, frozen=True)
            whole = train(network(len(NEW)), few_images, steps, 10, 3e-3)
            found.append((accuracy(head, test), accuracy(whole, test)))
        results[few] = np.mean(found, axis=0)
        print(
            f"{' and '.join(NEW)} from {few} images each, mean of {draws} draws: "
            f"transferred {100 * results[few][0]:.1f} %, "
            f"from these images alone {100 * results[few][1]:.1f} %"
        )
    print(f"{time.perf_counter() - start:.0f} s")
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    main(args.folder, args.quick)
