"""Programs that run with tilegrad and with PyTorch alike; only the library they are given differs.

``python tests/torch_programs.py``, where torch is installed, writes what PyTorch computes into
pytorch_optim.json, in float64, with which the tests compare.
"""

import json
import math
from pathlib import Path

FILE = Path(__file__).parent / "pytorch_optim.json"

RUNS = {
    "SGD": {"lr": 0.02},
    "SGD momentum": {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1},
    "SGD average": {"lr": 0.1, "momentum": 0.8, "dampening": 0.8},
    "SGD nesterov": {"lr": 0.02, "momentum": 0.9, "nesterov": True},
    "Adam": {"lr": 0.05},
    "Adam amsgrad": {"lr": 0.05, "amsgrad": True, "weight_decay": 0.1},
    "AdamW": {"lr": 0.05, "weight_decay": 0.3},
    "AdamW maximize": {"lr": 0.01, "maximize": True},
    "Adagrad": {"lr": 0.2},
    "Adagrad decay": {
        "lr": 0.2, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5
    },
    "Adadelta": {},
    "Adadelta decay": {"lr": 2.0, "rho": 0.8, "eps": 1e-3, "weight_decay": 0.1},
    "Adafactor": {"lr": 0.1},
    "Adafactor decay": {
        "lr": 0.3, "beta2_decay": -0.5, "eps": [0.01, 0.1], "d": 1.2, "weight_decay": 0.1,
        "maximize": False,
    },
    "RMSprop": {"lr": 0.02},
    "RMSprop momentum": {"lr": 0.01, "momentum": 0.8, "centered": True, "weight_decay": 0.1},
    "Adamax": {"lr": 0.05, "weight_decay": 0.1},
    "Adamax maximize": {"lr": 0.01, "maximize": True, "betas": [0.8, 0.95]},
    "NAdam": {"lr": 0.05, "weight_decay": 0.1},
    "NAdam decoupled": {
        "lr": 0.05, "weight_decay": 0.3, "decoupled_weight_decay": True, "momentum_decay": 0.1
    },
    "RAdam": {"lr": 0.2, "weight_decay": 0.1},
    "RAdam decoupled": {
        "lr": 0.1, "weight_decay": 0.3, "decoupled_weight_decay": True, "betas": [0.8, 0.9]
    },
    "ASGD": {"lr": 0.02, "lambd": 0.1, "t0": 5, "weight_decay": 0.1},
    "Rprop": {"lr": 0.02},
    "Rprop bounds": {"lr": 0.02, "etas": [0.3, 1.5], "step_sizes": [0.01, 0.08]},
    "LBFGS": {"lr": 0.1, "max_iter": 4, "history_size": 3},
    "LBFGS strong_wolfe": {"max_iter": 3, "history_size": 5, "line_search_fn": "strong_wolfe"},
}  # fmt: skip
"""By the name of the optimizer, what is special, and the arguments."""


def program(lib, name, options, dtype="float64", steps=20):
    """The weights after training with a library: two groups, and a rate halved on the way."""
    kind = getattr(lib.optim, name.split()[0])
    d = getattr(lib, dtype)
    p = lib.tensor([[0.7, -1.1], [0.3, 1.6]], dtype=d, requires_grad=True)
    q = lib.tensor([1.4, -0.2, 0.9], dtype=d, requires_grad=True)
    scale = lib.tensor([[1.0, 4.0], [0.2, 0.5]], dtype=d)
    single = kind is lib.optim.LBFGS
    groups = [p, q] if single else [{"params": [p]}, {"params": [q], "lr": 0.01}]
    optimizer = kind(groups, **options)
    for t in range(steps):
        if t == 10:
            optimizer.param_groups[0]["lr"] *= 0.5
        wind = 0.0 if single else math.cos(0.7 * t)

        def closure(wind=wind):
            optimizer.zero_grad()
            well = (scale * p * p).sum() + ((q * q - 1.0) ** 2).sum()
            loss = well + 0.1 * p.sum() * q.sum() + wind * (p.sum() - q.sum())
            loss.backward()
            return loss

        optimizer.step(closure)
    return [v for x in (p, q) for v in x.detach().reshape(-1).tolist()], optimizer


def valley(lib, options, steps=8):
    """The loss of Rosenbrock's function after every step of LBFGS."""
    x = lib.tensor([-1.2, 1.0, 0.5, 1.1], dtype=lib.float64, requires_grad=True)
    optimizer = lib.optim.LBFGS([x], **options)

    def closure():
        optimizer.zero_grad()
        a, b = x[::2], x[1::2]
        loss = ((1 - a) ** 2 + 100 * (b - a**2) ** 2).sum()
        loss.backward()
        return loss

    return [float(optimizer.step(closure)) for _ in range(steps)]


VALLEYS = {
    "no search": {"lr": 0.001, "max_iter": 3},
    "strong_wolfe": {"max_iter": 2, "line_search_fn": "strong_wolfe"},
    "short memory": {"max_iter": 3, "history_size": 1, "line_search_fn": "strong_wolfe"},
    "few calls": {"max_iter": 9, "max_eval": 3, "line_search_fn": "strong_wolfe"},
}

SCHEDULES = {
    "step": lambda s, o: s.StepLR(o, 7, 0.5),
    "multistep": lambda s, o: s.MultiStepLR(o, [5, 40, 5], 0.3),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.93),
    "lambda": lambda s, o: s.LambdaLR(o, [lambda t: 1 / (1 + t), lambda t: 0.9**t]),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda t: 1 - 0.5 / (t + 1)),
    "constant": lambda s, o: s.ConstantLR(o),
    "constant 12": lambda s, o: s.ConstantLR(o, 0.25, 12),
    "linear": lambda s, o: s.LinearLR(o),
    "linear down": lambda s, o: s.LinearLR(o, 0.9, 0.05, 30),
    "polynomial": lambda s, o: s.PolynomialLR(o),
    "polynomial 2": lambda s, o: s.PolynomialLR(o, 45, 2.0),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 13, 0.02),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 11),
    "restarts 2": lambda s, o: s.CosineAnnealingWarmRestarts(o, 5, 2, 0.01),
    "triangular": lambda s, o: s.CyclicLR(o, 0.1, [0.5, 0.9], 7),
    "triangular2": lambda s, o: s.CyclicLR(o, [0.1, 0.2], 0.5, 6, 3, mode="triangular2"),
    "exp_range": lambda s, o: s.CyclicLR(
        o, 0.1, 0.5, 8, mode="exp_range", gamma=0.97, base_momentum=0.5, max_momentum=0.95
    ),
    "scale_fn": lambda s, o: s.CyclicLR(
        o, 0.1, 0.5, 8, scale_fn=lambda x: 0.5 ** (x / 9), scale_mode="iterations",
        cycle_momentum=False,
    ),
    "one cycle": lambda s, o: s.OneCycleLR(o, 0.8, total_steps=60),
    "one cycle 3": lambda s, o: s.OneCycleLR(
        o, [0.8, 0.4], epochs=6, steps_per_epoch=10, pct_start=0.4, anneal_strategy="linear",
        three_phase=True, base_momentum=0.6, max_momentum=0.9, div_factor=5.0,
    ),
    "plateau": lambda s, o: s.ReduceLROnPlateau(o, factor=0.5, patience=2, cooldown=3),
    "plateau max": lambda s, o: s.ReduceLROnPlateau(
        o, "max", 0.7, 1, 0.05, "abs", min_lr=[0.1, 0.3]
    ),
    "plateau max rel": lambda s, o: s.ReduceLROnPlateau(o, "max", 0.7, 3, 0.2),
    "chained": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 9), s.ExponentialLR(o, 0.9)]),
    "warm-up": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, 1.0, 8), s.CosineAnnealingLR(o, 30), s.StepLR(o, 3, 0.5)], [8, 38]
    ),
    "sequence": lambda s, o: s.SequentialLR(
        o,
        [
            s.MultiplicativeLR(o, lambda t: 0.95), s.PolynomialLR(o, 20), s.MultiStepLR(o, [4]),
            s.MultiplicativeLR(o, lambda t: 0.9), s.CosineAnnealingWarmRestarts(o, 5),
            s.LambdaLR(o, lambda t: 0.5**t), s.ConstantLR(o, 0.5, 3),
        ],
        [10, 20, 28, 36, 46, 52],
    ),
    "swa": lambda s, o: s.SWALR(o, 0.05, anneal_epochs=20),
    "swa linear": lambda s, o: s.SWALR(o, [0.05, 0.6], 7, "linear"),
}  # fmt: skip
"""By name: the scheduler of a module, for an optimizer of two groups."""


def rates(lib, name, count=60, halfway=lambda scheduler, optimizer: None):
    """Rate of both groups and momentum of the first, before each of the steps."""
    x, y = (lib.zeros(1, requires_grad=True) for _ in range(2))
    groups = [{"params": [x]}, {"params": [y], "lr": 0.4}]
    optimizer = lib.optim.SGD(groups, lr=0.8, momentum=0.7)
    space = lib.optim.swa_utils if name.startswith("swa") else lib.optim.lr_scheduler
    scheduler = SCHEDULES[name](space, optimizer)
    out = []
    for t in range(count):
        if t == count // 2:
            scheduler = halfway(scheduler, optimizer) or scheduler
        now = [g["lr"] for g in optimizer.param_groups]
        out.append([*now, optimizer.param_groups[0]["momentum"]])
        assert list(scheduler.get_last_lr()) == now
        optimizer.step()
        measure = (math.cos(t / 4) + 1.1 - t / 60,) if name.startswith("plateau") else ()
        scheduler.step(*measure)
    return out


def digest(rows):
    """Eight of the rows, and sums over all that no change of one leaves as they were."""
    sums = [
        sum((t % 7 + 1) * v for t, v in enumerate(column)) for column in zip(*rows, strict=True)
    ]
    return [v for t in (0, 1, 4, 10, 21, 33, 47, 59) for v in rows[t]] + sums


def computed(lib):
    """All that is compared, by a library whose default dtype is float64."""
    return {
        "optimizers": {n: program(lib, n, options)[0] for n, options in RUNS.items()},
        "valleys": {n: valley(lib, options) for n, options in VALLEYS.items()},
        "schedules": {n: digest(rates(lib, n)) for n in SCHEDULES},
    }


if __name__ == "__main__":
    import torch

    torch.set_default_dtype(torch.float64)
    found = {
        part: {n: [float(f"{v:.12g}") for v in values] for n, values in entries.items()}
        for part, entries in computed(torch).items()
    }
    FILE.write_text(json.dumps({"PyTorch": torch.__version__, **found}, indent=0) + "\n")
