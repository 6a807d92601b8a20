"""A curve through scattered points by a small network: ``python examples/curve.py [FILE.csv]``.

FILE: a header line, then rows whose last two columns are x and y, such as the motorcycle data of R
(MASS::mcycle). Without FILE: points around a sine.
"""

import sys

import numpy as np

import tilegrad as tg
from tilegrad import nn


def points(path=None):
    if path is None:
        x = np.linspace(-3, 3, 100)
        y = np.sin(2 * x) + 0.1 * np.random.default_rng(0).standard_normal(100)
    else:
        x, y = np.loadtxt(path, delimiter=",", skiprows=1, usecols=(-2, -1)).T
    return x, y


def standard(a):
    return tg.tensor((a - a.mean()) / a.std(), dtype=tg.float32)[:, None]


def main(path=None, steps=1500):
    tg.manual_seed(0)
    x, y = map(standard, points(path))
    hidden = 32
    model = nn.Sequential(
        nn.Linear(1, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1)
    )
    optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
    scheduler = tg.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    loss_fn = nn.MSELoss()
    for step in range(steps):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        if step % (steps // 5) == 0 or step == steps - 1:
            print(f"step {step:5d}: {100 * (1 - loss.item()):6.2f} % of the variance explained")
    return loss.item()


if __name__ == "__main__":
    main(*sys.argv[1:2])
