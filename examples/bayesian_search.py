"""Bayesian optimisation of a classifier's settings, beside random search.

    python examples/bayesian_search.py [--evaluations 20] [--seeds 3] [--quick]

A Gaussian process (scikit-learn's, Matern kernel) is fitted to the errors seen so far; what is
tried next is where it expects the largest improvement on the best of them. Sources: J. Mockus, On
Bayesian methods for seeking the extremum, 1974; J. Snoek, H. Larochelle and R. Adams, Practical
Bayesian optimization of machine learning algorithms, 2012. The data are the 1,797 digits of
scikit-learn.
"""

import argparse
import time
import warnings

import numpy as np
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import cross_val_score

from tilegrad.train import Classifier

# Name, smallest and largest value, and whether the scale is logarithmic.
SPACE = [
    ("lr", 1e-5, 1.0, True), ("width", 4, 256, True), ("dropout", 0.0, 0.8, False),
    ("weight_decay", 1e-7, 1.0, True),
]  # fmt: skip


def settings(point):
    """The settings at a point of the unit cube."""
    found = {}
    for u, (name, low, high, logarithmic) in zip(point, SPACE, strict=True):
        found[name] = low * (high / low) ** u if logarithmic else low + u * (high - low)
    return {"hidden": (round(found.pop("width")),), **found}


def error(point, data, epochs):
    """The error in cross-validation, in percent."""
    model = Classifier(**settings(point), optimizer="adamw", epochs=epochs, random_state=0)
    return 100 * (1 - cross_val_score(model, *data, cv=3).mean())


def expected_improvement(points, tried, errors):
    """By how much each point is expected to lie below the best error so far (in log(error))."""
    kernel = ConstantKernel() * Matern([0.3] * len(SPACE), (0.05, 5.0), nu=2.5) + WhiteKernel(1e-2)
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    y = np.log(errors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at its bound
        process.fit(np.array(tried), y)
    mean, std = process.predict(points, return_std=True)
    z = (y.min() - mean) / std
    return std * (z * norm.cdf(z) + norm.pdf(z))


def search(evaluations, data, epochs, rng, bayesian):
    """Points and their errors in the order in which they were tried."""
    tried, errors = [], []
    for i in range(evaluations):
        points = rng.random((2000, len(SPACE)))
        best = 0  # the first points are random
        if bayesian and i >= 5:
            best = expected_improvement(points, tried, errors).argmax()
        tried.append(points[best])
        errors.append(error(points[best], data, epochs))
    return tried, np.array(errors)


def main(evaluations=20, seeds=3, quick=False):
    begun = time.perf_counter()
    x, y = load_digits(return_X_y=True)
    data, epochs = ((x / 16).astype(np.float32), y), 10
    if quick:
        data, epochs, evaluations, seeds = (data[0][:300], y[:300]), 2, 7, 1
    for name, bayesian in (("random search", False), ("Gaussian process", True)):
        runs = [
            search(evaluations, data, epochs, np.random.default_rng(seed), bayesian)
            for seed in range(seeds)
        ]
        best = [errors.min() for _, errors in runs]
        tried, errors = runs[int(np.argmin(best))]
        print(
            f"{name}: {np.mean(best):.2f} % wrong after {evaluations} evaluations (mean of "
            f"{seeds} seeds, {min(best):.2f} to {max(best):.2f})"
        )
        shown = ", ".join(
            f"{k} {v[0] if k == 'hidden' else format(v, '.2g')}"
            for k, v in settings(tried[int(errors.argmin())]).items()
        )
        print(f"  best: {shown}")
    print(f"{time.perf_counter() - begun:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluations", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a small run, to see that it works")
    main(**vars(parser.parse_args()))
