"""Every optimizer and schedule against PyTorch, by the same program run here (torch_programs), and
those PyTorch has not against their formulas in NumPy."""

import json

import numpy as np
import pytest
import torch_programs as programs

import tilegrad as tg
from tilegrad import nn, optim
from tilegrad.errors import GradientError, ShapeError, StateError
from tilegrad.errors import ValueError as TgValueError
from tilegrad.testing import assert_close

PYTORCH = json.loads(programs.FILE.read_text())


def close(values, rel=1e-9):
    return pytest.approx(values, rel=rel, abs=1e-10)


@pytest.mark.parametrize("name", programs.RUNS)
def test_twenty_steps_are_those_of_pytorch(name):
    options = programs.RUNS[name]
    got, _ = programs.program(tg, name, options)
    assert got == close(PYTORCH["optimizers"][name])
    single, _ = programs.program(tg, name, options, "float32")
    assert single == pytest.approx(got, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", programs.VALLEYS)
def test_lbfgs_takes_the_path_of_pytorch(name):
    got = programs.valley(tg, programs.VALLEYS[name])
    assert got == close(PYTORCH["valleys"][name], rel=1e-6)
    assert got[-1] < got[0]


@pytest.mark.parametrize("name", programs.SCHEDULES)
def test_sixty_rates_are_those_of_pytorch(name):
    assert programs.digest(programs.rates(tg, name)) == close(PYTORCH["schedules"][name])


@pytest.mark.filterwarnings("ignore")
def test_the_numbers_are_those_of_pytorch():
    """Where torch can be imported, in the version the numbers name."""
    torch = pytest.importorskip("torch")
    if torch.__version__ != PYTORCH["PyTorch"]:
        pytest.skip(f"torch {torch.__version__}, the numbers are of {PYTORCH['PyTorch']}")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        found = programs.computed(torch)
    finally:
        torch.set_default_dtype(before)
    for part, entries in found.items():
        assert set(entries) == set(PYTORCH[part])
        for name, values in entries.items():
            assert values == close(PYTORCH[part][name], rel=1e-6), name


# --- what PyTorch has not -------------------------------------------------------------------------
def problem(dtype=np.float64, steps=6):
    rng = np.random.default_rng(3)
    return rng.standard_normal((3, 5)).astype(dtype), [
        rng.standard_normal((3, 5)).astype(dtype) for _ in range(steps)
    ]


def follow(make, start, grads):
    p = nn.Parameter(tg.tensor(start))
    optimizer = make([p])
    for g in grads:
        p.grad = tg.tensor(g)
        optimizer.step()
    return p, optimizer


def lion(p, grads, lr, betas=(0.9, 0.99), weight_decay=0.0, maximize=False):
    m = np.zeros_like(p)
    for g in grads:
        g = -g if maximize else g
        u = np.sign(betas[0] * m + (1 - betas[0]) * g)
        p = p - lr * (u + weight_decay * p)
        m = betas[1] * m + (1 - betas[1]) * g
    return p


def muon(p, grads, lr, momentum=0.95, weight_decay=0.1, nesterov=True, adjust_lr_fn=None):
    b = np.zeros_like(p)
    rows, columns = p.shape
    rate = lr * np.sqrt(max(1.0, rows / columns))
    if adjust_lr_fn:
        rate = 0.2 * lr * np.sqrt(max(rows, columns))
    for g in grads:
        b = momentum * b + (1 - momentum) * g
        u, s, v = np.linalg.svd((1 - momentum) * g + momentum * b if nesterov else b)
        s = s / np.sqrt((s**2).sum())
        for _ in range(5):  # the iteration acts on each singular value alone
            s = 3.4445 * s - 4.775 * s**3 + 2.0315 * s**5
        p = (1 - lr * weight_decay) * p - rate * (u[:, : len(s)] * s) @ v[: len(s)]
    return p


@pytest.mark.parametrize("options", [{}, {"nesterov": False, "momentum": 0.5},
                                     {"adjust_lr_fn": "match_rms_adamw"}], ids=str)  # fmt: skip
@pytest.mark.parametrize("transpose", [False, True])
def test_muon(options, transpose):
    start, grads = problem()
    if transpose:
        start, grads = start.T.copy(), [g.T.copy() for g in grads]
    p, _ = follow(lambda ps: optim.Muon(ps, lr=0.1, **options), start, grads)
    assert_close(p, muon(start, grads, 0.1, **options), reduction_length=60)


@pytest.mark.filterwarnings("ignore")
def test_muon_beside_pytorch():
    """Which iterates in bfloat16."""
    torch = pytest.importorskip("torch")
    start, grads = problem()
    for options in ({}, {"nesterov": False, "adjust_lr_fn": "match_rms_adamw", "ns_steps": 3}):
        p, _ = follow(lambda ps, o=options: optim.Muon(ps, lr=0.1, **o), start, grads)
        q = torch.nn.Parameter(torch.tensor(start))
        theirs = torch.optim.Muon([q], lr=0.1, **options)
        for g in grads:
            q.grad = torch.tensor(g)
            theirs.step()
        assert_close(p, q.detach().numpy(), rtol=0, atol=0.01)


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.5, "betas": (0.5, 0.8)},
                                     {"maximize": True}], ids=str)  # fmt: skip
def test_lion(options):
    start, grads = problem()
    p, _ = follow(lambda ps: optim.Lion(ps, lr=0.1, **options), start, grads)
    assert_close(p, lion(start, grads, 0.1, **options), reduction_length=6)


@pytest.mark.parametrize("name", ["SGD", "AdamW", "RMSprop", "Lion"])
def test_l1_decay_soft_thresholds_after_the_step(name):
    start, grads = problem(steps=1)
    kind = getattr(optim, name)
    plain, _ = follow(lambda ps: kind(ps, lr=0.1), start, grads)
    plain = plain.detach().numpy()
    p, _ = follow(lambda ps: kind([{"params": ps, "l1_decay": 4.0}], lr=0.1), start, grads)
    want = np.sign(plain) * np.maximum(np.abs(plain) - 0.4, 0.0)
    assert (want == 0).any() and (want != 0).any()
    assert_close(p, want, rtol=1e-15, atol=1e-15)


def test_l1_decay_finds_the_lasso():
    """Iterated thresholding ends where the subgradient holds zero (Tibshirani, 1996)."""
    rng = np.random.default_rng(0)
    x, true = rng.standard_normal((60, 8)), np.array([2.0, 0, 0, -1.0, 0, 0, 0, 0.5])
    a, b = tg.tensor(x), tg.tensor(x @ true + 0.1 * rng.standard_normal(60))
    w = tg.zeros(8, dtype=tg.float64, requires_grad=True)
    optimizer = optim.SGD([{"params": [w], "l1_decay": 0.2}], lr=0.2)
    for _ in range(300):
        optimizer.zero_grad()
        ((a @ w - b).square().sum() / 120).backward()
        optimizer.step()
    found, slope = w.detach().numpy(), w.grad.numpy()
    assert ((found != 0) == (true != 0)).all()
    assert np.abs(slope[found == 0]).max() <= 0.2
    assert np.allclose(slope[found != 0], -0.2 * np.sign(found[found != 0]), atol=1e-8)


def squares(x, scale):
    """Half the squares of scaled parameters: the curvature is scale**2."""
    outputs = x * tg.tensor(scale)
    return outputs.square().sum() / 2, outputs


def test_sdlm_steps_as_newton_where_the_hessian_is_diagonal():
    start, scale = np.array([3.0, -1.0, 2.0]), np.array([0.5, 6.0, 2.0])
    x = tg.tensor(start, requires_grad=True)
    optimizer = optim.SDLM([x], lr=0.5, mu=0.1, gamma=0.25)
    optimizer.update_curvature(lambda: squares(x, scale))
    assert x.grad is None
    assert_close(optimizer.state[x]["curvature"], scale**2, rtol=1e-14, atol=0)
    squares(x, scale)[0].backward()
    optimizer.step()
    want = start - 0.5 / (scale**2 + 0.1) * scale**2 * start
    assert_close(x, want, rtol=1e-14, atol=0)
    optimizer.update_curvature(lambda: squares(x, 3 * scale))
    assert_close(optimizer.state[x]["curvature"], scale**2 * 3.0, rtol=1e-14, atol=0)
    assert optimizer.state_dict()["state"][0].keys() == {"curvature"}


def test_sdlm_estimates_the_gauss_newton_diagonal_of_a_classifier():
    """For logits x @ w and the mean cross-entropy it is the mean of p (1 - p) x**2."""
    rng = np.random.default_rng(1)
    data, weights = rng.standard_normal((8, 3)) * [1, 30, 0.1], rng.standard_normal((3, 4))
    x, w = tg.tensor(data), tg.tensor(weights, requires_grad=True)
    unused = tg.ones(2, requires_grad=True)
    labels = tg.tensor(rng.integers(0, 4, 8))

    def closure():
        logits = x @ w
        return nn.functional.cross_entropy(logits, labels), logits

    optimizer = optim.SDLM([w, unused])
    generator = tg.Generator().manual_seed(7)
    optimizer.update_curvature(closure, samples=2000, generator=generator)
    p = np.exp(data @ weights)
    p /= p.sum(1, keepdims=True)
    exact = (data**2).T @ (p * (1 - p)) / 8
    error = np.abs(optimizer.state[w]["curvature"].numpy() - exact)
    spread = np.sqrt(2 * (data**2).sum(0)[:, None] * (data**2).T @ (p * (1 - p)) ** 2 / 64 / 2000)
    assert (error < 6 * spread).all() and (error > 0).any()
    assert unused not in optimizer.state


def test_sdlm_learns_what_plain_descent_cannot():
    """Two inputs whose scales differ a thousandfold."""
    tg.manual_seed(0)
    x = tg.randn(64, 2, dtype=tg.float64) * tg.tensor([1.0, 1000.0], dtype=tg.float64)
    y = x @ tg.tensor([1.0, 0.002], dtype=tg.float64)

    def train(make):
        w, b = (tg.zeros(n, dtype=tg.float64, requires_grad=True) for n in (2, 1))
        optimizer = make([w, b])

        def closure():
            outputs = x @ w + b
            return (outputs - y).square().mean(), outputs

        for t in range(60):
            optimizer.zero_grad()
            if t % 20 == 0 and isinstance(optimizer, optim.SDLM):
                optimizer.update_curvature(closure, samples=4)
            loss, _ = closure()
            loss.backward()
            optimizer.step()
        return loss.item()

    assert train(lambda ps: optim.SDLM(ps, lr=0.3)) < 1e-3
    assert train(lambda ps: optim.SGD(ps, lr=5e-7)) > 0.5


# --- states, groups, refusals ---------------------------------------------------------------------
STATES = {
    "Adagrad": {"step", "sum"},
    "Adadelta": {"step", "square_avg", "acc_delta"},
    "RMSprop": {"step", "square_avg", "grad_avg", "momentum_buffer"},
    "Adamax": {"step", "exp_avg", "exp_inf"},
    "NAdam": {"step", "exp_avg", "exp_avg_sq", "mu_product"},
    "RAdam": {"step", "exp_avg", "exp_avg_sq"},
    "ASGD": {"step", "eta", "mu", "ax"},
    "Rprop": {"step", "prev", "step_size"},
    "Lion": {"exp_avg"},
    "Adafactor": {"step", "row_var", "col_var"},
    "Muon": {"momentum_buffer"},
}
"""Names and entries as in PyTorch (Lion's as in Adam)."""


def maker(name):
    options = {"centered": True, "momentum": 0.5} if name == "RMSprop" else {}
    options |= {"t0": 2} if name == "ASGD" else {}
    return lambda ps: getattr(optim, name)(ps, lr=0.1, **options)


@pytest.mark.parametrize("name", STATES)
def test_states_have_the_names_of_pytorch_and_go_on_bit_for_bit(name):
    start, grads = problem(np.float32, 8)
    whole, _ = follow(maker(name), start, grads)
    p, first = follow(maker(name), start, grads[:4])
    state = first.state_dict()
    assert state["state"][0].keys() == STATES[name]
    # PyTorch keeps counts and factors as tensors without dimensions
    state["state"][0] = {
        k: v if isinstance(v, tg.Tensor) else tg.tensor(v, dtype=tg.float64)
        for k, v in state["state"][0].items()
    }
    q = nn.Parameter(p.detach().clone())
    second = maker(name)([q])
    second.load_state_dict(state)
    for g in grads[4:]:
        q.grad = tg.tensor(g)
        second.step()
    assert_close(q, whole, rtol=0, atol=0)
    for k, v in second.state[q].items():
        if isinstance(v, tg.Tensor):
            assert not np.shares_memory(v.numpy(), first.state[p][k].numpy())


@pytest.mark.parametrize("name", STATES)
def test_any_memory_order_and_read_only_memory(name):
    start, grads = problem()
    want, _ = follow(maker(name), start, grads)
    p = nn.Parameter(tg.tensor(start.T.copy()).t())
    optimizer = maker(name)([p])
    for g in grads:
        p.grad = tg.from_numpy(np.asfortranarray(g))
        before = p.grad.numpy().copy()
        optimizer.step()
        assert (p.grad.numpy() == before).all()
    assert_close(p, want, rtol=1e-14, atol=1e-14)
    frozen = start.copy()
    frozen.flags.writeable = False
    q = nn.Parameter(tg.from_numpy(frozen))
    q.grad = tg.tensor(grads[0])
    optimizer = maker(name)([q])
    with pytest.raises(TgValueError, match="read-only"):
        optimizer.step()
    assert (frozen == start).all() and not optimizer.state[q]


@pytest.mark.parametrize("dtype", [tg.float16, tg.bfloat16], ids=str)
@pytest.mark.parametrize("name", STATES)
def test_half_precision(name, dtype):
    start, grads = problem(np.float32)
    want, _ = follow(maker(name), start, grads)
    p = nn.Parameter(tg.tensor(start).to(dtype))
    optimizer = maker(name)([p])
    for g in grads:
        p.grad = tg.tensor(g).to(dtype)
        optimizer.step()
    assert p.dtype == dtype
    assert_close(p.detach().float(), want, rtol=0.1, atol=0.1)


def lbfgs(x, **options):
    optimizer = optim.LBFGS(x, max_iter=3, line_search_fn="strong_wolfe", **options)

    def closure():
        optimizer.zero_grad()
        loss = sum(((p - 1) ** 4).sum() + (p[1:] - p[:-1] ** 2).square().sum() for p in x)
        loss.backward()
        return loss

    return optimizer, closure


def test_lbfgs_goes_on_from_its_state():
    xs = [tg.tensor([-1.0, 2.0, 0.3], requires_grad=True), tg.zeros(2, requires_grad=True)]
    first, closure = lbfgs(xs)
    first.step(closure)
    ys = [x.detach().clone().requires_grad_() for x in xs]
    second, other = lbfgs(ys)
    second.load_state_dict(first.state_dict())
    first.step(closure)
    second.step(other)
    for x, y in zip(xs, ys, strict=True):
        assert_close(x, y, rtol=0, atol=0)
    state = first.state[xs[0]]
    assert state["n_iter"] > 3 and state["func_evals"] > state["n_iter"]
    assert {"d", "t", "old_dirs", "old_stps", "ro", "H_diag", "prev_flat_grad", "prev_loss"} < {
        *state
    }
    broken = first.state_dict()
    broken["state"][0]["d"] = tg.zeros(4)
    with pytest.raises(StateError, match=r"d of parameter 0 has shape \(4,\), expected \(5,\)"):
        second.load_state_dict(broken)


def test_lbfgs_in_a_checkpoint(tmp_path):
    from tilegrad.train import load_checkpoint, save_checkpoint

    def trained():
        tg.manual_seed(3)
        model = nn.Linear(2, 2)
        return model, *lbfgs(list(model.parameters()))

    model, optimizer, closure = trained()
    optimizer.step(closure)
    save_checkpoint(tmp_path, model, optimizer)
    optimizer.step(closure)
    other, second, again = trained()
    load_checkpoint(tmp_path, other, second)
    second.step(again)
    assert_close(other.weight, model.weight, rtol=0, atol=0)


def test_lbfgs_stays_where_the_gradient_is_zero():
    x = tg.ones(3, requires_grad=True)
    optimizer, closure = lbfgs([x])
    assert optimizer.step(closure).item() == 0.0
    assert x.tolist() == [1, 1, 1] and optimizer.state[x] == {"func_evals": 1, "n_iter": 0}


P = tg.zeros(2, requires_grad=True)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: optim.Adagrad([P], lr_decay=-1.0), TgValueError, "lr_decay must be at least"),
        (lambda: optim.Adagrad([P], initial_accumulator_value=-1.0), TgValueError, "got -1.0"),
        (lambda: optim.Adadelta([P], rho=1.5), TgValueError, r"rho must lie in \[0, 1\], got"),
        (lambda: optim.RMSprop([P], alpha=-0.1), TgValueError, "alpha must be at least 0"),
        (lambda: optim.Adamax([P], betas=(1.0, 0.9)), TgValueError, r"Adamax: betas\[0\] lies in"),
        (lambda: optim.NAdam([P], momentum_decay=-1.0), TgValueError, "NAdam: momentum_decay must"),
        (lambda: optim.RAdam([P], betas=(0.9, -0.1)), TgValueError, r"RAdam: betas\[1\] lies in"),
        (lambda: optim.ASGD([P], weight_decay=-1.0), TgValueError, "ASGD: weight_decay must be"),
        (lambda: optim.Rprop([P], etas=(1.1, 1.2)), TgValueError, "etas must hold 0 < etas"),
        (lambda: optim.Adafactor([P], beta2_decay=0.1), TgValueError, "beta2_decay must be at mo"),
        (lambda: optim.Adafactor([P], d=0.5), TgValueError, "Adafactor: d must be at least 1"),
        (lambda: optim.Muon([P]), ShapeError, r"Muon: expects matrices, got .* shape \(2,\)"),
        (lambda: optim.Muon([tg.ones(1, 1)], adjust_lr_fn="x"), TgValueError, "'original' or 'mat"),
        (lambda: optim.Muon([tg.ones(1, 1)], ns_steps=100), TgValueError, r"lies in \[0, 100\)"),
        (lambda: optim.Muon([tg.ones(1, 1)], ns_coefficients=(1,)), TgValueError, "three numbers"),
        (lambda: optim.Lion([P], lr=-1.0), TgValueError, "Lion: lr must be at least 0"),
        (lambda: optim.SDLM([P], mu=-1.0), TgValueError, "SDLM: mu must be at least 0"),
        (lambda: optim.SGD([{"params": P, "l1_decay": -1.0}]), TgValueError, "l1_decay must be"),
        (lambda: optim.LBFGS([P], line_search_fn="wolfe"), TgValueError, "line_search_fn is 'st"),
        (lambda: optim.LBFGS([{"params": P, "l1_decay": 1.0}]), TgValueError, "no l1_decay"),
        (lambda: optim.LBFGS([{"params": P}, {"params": tg.ones(1)}]), TgValueError, "one group"),
        (lambda: optim.LBFGS([P]).step(), TgValueError, "step needs a closure"),
        (lambda: optim.SDLM([P]).update_curvature(P.sum, 0), TgValueError, "samples must be at"),
        (lambda: optim.SDLM([P]).update_curvature(lambda: (P.sum(), tg.ones(1))), GradientError,
         "loss and outputs must depend"),
    ],
)  # fmt: skip
def test_refusals(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_sdlm_refuses_a_step_without_curvature():
    x = tg.ones(2, requires_grad=True)
    x.grad = tg.ones(2)
    with pytest.raises(StateError, match="update_curvature must estimate"):
        optim.SDLM([x]).step()
    assert x.tolist() == [1, 1]


def test_lbfgs_takes_numbers_as_tensors():
    """As PyTorch keeps them."""

    def run(steps, state=None, start=(3.0, 1.0)):
        x = tg.tensor(start, requires_grad=True)
        optimizer = tg.optim.LBFGS([x], lr=0.5, max_iter=3)
        if state is not None:
            optimizer.load_state_dict(state)

        def closure():
            optimizer.zero_grad()
            loss = (x * tg.tensor([1.0, 4.0])).square().sum()
            loss.backward()
            return loss

        for _ in range(steps):
            optimizer.step(closure)
        return x.tolist(), optimizer.state_dict()

    x, state = run(1)
    mine = state["state"][0]
    assert mine["ro"]
    theirs = {k: tg.tensor(v) if k in ("H_diag", "t") else v for k, v in mine.items()}
    theirs["ro"], theirs["al"] = [tg.tensor(v) for v in mine["ro"]], [None, tg.ones(())]
    got, after = run(2, {**state, "state": {0: theirs}}, x)
    np.testing.assert_allclose(got, run(2, state, x)[0], rtol=1e-5, atol=1e-7)
    assert type(after["state"][0]["H_diag"]) is float and after["state"][0]["al"] is None
