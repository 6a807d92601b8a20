"""Complex tensors and ``tilegrad.fft``: PyTorch's gradients at the edges of the tape, derivatives
of both orders and modes, errors, and the comparison with PyTorch where it is installed."""

import itertools
import json
import warnings
from pathlib import Path

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import errors, fft, func, kernels
from tilegrad.ops.elementwise import _COMPLEX_TOO
from tilegrad.testing import assert_close, gradcheck

ANALYTIC = sorted(_COMPLEX_TOO)


def numbers(*shape, dtype="c16", seed=0):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(shape)
    return np.asarray(a + 1j * rng.standard_normal(shape) if dtype[0] == "c" else a).astype(dtype)


def leaf(*shape, dtype="c16", seed=0):
    return tg.from_numpy(numbers(*shape, dtype=dtype, seed=seed)).requires_grad_()


# --- the gradients that users see -----------------------------------------------------------------
def test_the_gradient_is_the_direction_of_steepest_ascent():
    z = tg.tensor([3 + 4j, -1j], requires_grad=True)
    (z.real**2 + z.imag**2).sum().backward()
    assert z.grad.tolist() == [6 + 8j, -2j] and z.grad.dtype == tg.complex64
    z.grad = None
    (z.abs().sum() + (z * 2j).real.sum()).backward()  # z / |z| + conj(2j)
    assert_close(z.grad, tg.tensor([0.6 + 0.8j - 2j, -3j]))
    (again,) = tg.autograd.grad(z, z, tg.tensor([1 + 2j, 3j]))
    assert again.tolist() == [1 + 2j, 3j]


@pytest.mark.parametrize("op", [*ANALYTIC, "abs", "angle", "sgn", "conj"])
def test_functions_of_one_variable(op):
    gradcheck(getattr(tg, op), [leaf(3, 4)], second_order=True)
    x, v = (tg.from_numpy(numbers(3, 4, seed=s)) for s in (0, 1))
    y, t = func.jvp(getattr(tg, op), (x,), (v,))
    up, down = (getattr(tg, op)(x + v * s).numpy() for s in (1e-6, -1e-6))
    assert_close(t, (up - down) / 2e-6, rtol=1e-6, atol=1e-6)
    u = numbers(3, 4, dtype=y.dtype.str[1:], seed=2)
    (g,) = func.vjp(getattr(tg, op), x)[1](tg.from_numpy(u))
    assert np.vdot(g, v).real == pytest.approx(np.vdot(u, t).real, rel=1e-9)


@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "pow", "matmul"])
@pytest.mark.parametrize("dtypes", [("c16", "c16"), ("f8", "c16"), ("c16", "f8")])
def test_functions_of_two_variables(op, dtypes):
    a, b = (leaf(3, 3, dtype=d, seed=i) for i, d in enumerate(dtypes))
    if op == "pow":
        a = (a.detach() + 4).requires_grad_()
    gradcheck(getattr(tg, op), [a, b], second_order=True)


def test_real_inputs_take_the_real_part():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = x * (1 + 2j)
    y.backward(tg.tensor([1 + 0j, 1j]))
    assert x.grad.dtype == tg.float32 and x.grad.tolist() == [1.0, 2.0]
    x.grad = None
    (x.to(tg.complex128) * 1j).to(tg.float32).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0]


def test_computed_tensors_hooks_and_inputs():
    z = leaf(3)
    seen = []
    y = z * (2 + 1j)
    y.retain_grad()
    y.register_hook(lambda g: seen.append(g.numpy()))
    loss = (y.real**2 + y.imag**2).sum()
    loss.backward(retain_graph=True)
    expected = 2 * y.detach().numpy()
    np.testing.assert_allclose(y.grad.numpy(), expected)
    np.testing.assert_allclose(seen[0], expected)
    np.testing.assert_allclose(z.grad.numpy(), expected * (2 - 1j))
    (g,) = tg.autograd.grad(loss, y, retain_graph=True)
    np.testing.assert_allclose(g.numpy(), expected)
    z.grad, y = None, z * (2 + 1j)
    loss = (y.real**2 + y.imag**2).sum()
    tg.autograd.backward(loss, inputs=[y, z], retain_graph=True)
    np.testing.assert_allclose(y.grad.numpy(), expected)
    np.testing.assert_allclose(z.grad.numpy(), expected * (2 - 1j))
    y.register_hook(lambda g: g * 1j)
    z.register_hook(lambda g: g * 3)
    (g,) = tg.autograd.grad(loss, z, retain_graph=True)
    np.testing.assert_allclose(g.numpy(), 3 * expected * 1j * (2 - 1j))


def test_the_gradient_can_be_differentiated_anywhere():
    z = leaf(2)
    for context in (tg.enable_grad(), tg.no_grad()):
        y = z * z
        loss = (y.abs() ** 2).sum()
        with context:
            gz, gy = tg.autograd.grad(loss, [z, y], create_graph=True)
        assert gz.requires_grad and gy.requires_grad
        (h,) = tg.autograd.grad((gy * gy.conj()).real.sum(), z)
        w = z.detach().numpy()  # |2 z^2|^2 = 4 |z|^4
        np.testing.assert_allclose(h.numpy(), 16 * np.abs(w) ** 2 * w)


class Cube(tg.autograd.Function):
    """z^2 conj(z), whose gradient is written in PyTorch's convention."""

    @staticmethod
    def forward(ctx, z, scale):
        ctx.save_for_backward(z, scale)
        return z * z * z.conj() * scale

    @staticmethod
    def backward(ctx, g):
        z, scale = ctx.saved_tensors
        holomorphic = g * (2 * z * z.conj() * scale).conj()
        return holomorphic + g.conj() * z * z * scale, (z * z * z.conj()).conj() * g


def test_functions_of_ones_own():
    z, s = leaf(3), leaf(3, dtype="f8")
    gradcheck(Cube.apply, [z, s], second_order=True)
    vs = tg.from_numpy(numbers(3, seed=1)), tg.from_numpy(numbers(3, dtype="f8", seed=2))
    plain = func.jvp(lambda z, s: z * z * z.conj() * s, (z.detach(), s.detach()), vs)
    own = func.jvp(Cube.apply, (z.detach(), s.detach()), vs)
    for a, b in zip(own, plain, strict=True):
        assert_close(a, b)


def test_transforms_of_functions():
    z, w = tg.from_numpy(numbers(3)), leaf(3, seed=3)
    f = lambda z: (z * w).abs().sum() ** 2  # noqa: E731
    g = func.grad(f)(z)
    (expected,) = tg.autograd.grad(f(z.clone().requires_grad_()), w, retain_graph=True)
    ours = z.clone().requires_grad_()
    (again,) = tg.autograd.grad(f(ours), ours)
    assert_close(g, again)
    # What func.grad returns is recorded where w is watched, and so is the hop between conventions.
    v = tg.from_numpy(numbers(3, seed=4))
    (mixed,) = tg.autograd.grad((g * v.conj()).real.sum(), w)
    eps, dw = 1e-6, numbers(3, seed=5)

    def slope(sign):
        moved = tg.from_numpy(w.numpy(force=True) + sign * eps * dw)
        h = lambda z: (z * moved).abs().sum() ** 2  # noqa: E731
        return np.vdot(v, func.grad(h)(z)).real

    assert np.vdot(mixed, dw).real == pytest.approx((slope(1) - slope(-1)) / (2 * eps), rel=1e-6)
    assert expected.shape == w.shape
    _, (product,) = func.hvp(f, (z,), (v,))
    near = [func.grad(f)(z + v * s).numpy(force=True) for s in (1e-6, -1e-6)]
    np.testing.assert_allclose(product.numpy(force=True), (near[0] - near[1]) / 2e-6, rtol=1e-5)
    parts = func.jacrev(lambda a: tg.view_as_real(tg.complex(a, a * 2)))(tg.tensor([1.0, 2.0]))
    assert parts[:, :, 0].tolist() == [[1, 2], [0, 0]]


def test_views_and_changes_in_place():
    z = tg.tensor([1 + 2j, 3 - 1j])
    z.real[0] = 5
    tg.view_as_real(z)[1, 1] = 7
    assert z.tolist() == [5 + 2j, 3 + 7j]
    z.imag.mul_(2)
    z *= 1j
    assert z.tolist() == [-4 + 5j, -14 + 3j]
    assert z.conj_physical_().tolist() == [-4 - 5j, -14 - 3j]
    w = tg.tensor([1j, 2.0], requires_grad=True)
    y = w.exp()
    y[0] = 3j
    y.abs().sum().backward()
    assert w.grad[0].item() == 0
    y = w.exp()
    y.detach().mul_(2)
    with pytest.raises(errors.GradientError, match="changed in place"):
        y.abs().sum().backward()
    assert tg.view_as_complex(tg.tensor([[1.0, 2.0]])).is_complex()
    assert tg.tensor([[1j, 2]]).H.tolist() == [[-1j], [2]] == tg.tensor([[1j, 2]]).mH.tolist()


@pytest.mark.skipif(not hasattr(kernels.host, "num_threads"), reason="no threads")
def test_sums_and_products_do_not_depend_on_threads():
    a = tg.from_numpy(numbers(200, 150, dtype="c8"))
    before = tg.get_num_threads()
    found = []
    try:
        for n in (1, 3):
            tg.set_num_threads(n)
            found.append([(a @ a.mH).numpy().tobytes(), a.sum().numpy().tobytes()])
    finally:
        tg.set_num_threads(before)
    assert found[0] == found[1]
    np.testing.assert_allclose((a @ a.mH).numpy(), a.numpy() @ a.numpy().conj().T, rtol=1e-4)


# --- mistakes -------------------------------------------------------------------------------------
Z = tg.tensor([[1 + 1j, 2.0]])
MISTAKES = [
    (lambda: (Z * tg.tensor(1.0, requires_grad=True)).backward(), errors.GradientError, "shape"),
    (lambda: leaf().backward(), errors.GradientError, "given for an output of complex128"),
    (lambda: Z < 1, errors.DTypeError, "lt: expects a real tensor, got complex64"),
    (lambda: tg.maximum(Z, Z), errors.DTypeError, "maximum: expects a real"),
    (lambda: Z // 2, errors.DTypeError, "floor_divide: expects a real"),
    (lambda: Z.acosh(), errors.DTypeError, "acosh: expects a real"),
    (lambda: tg.nn.functional.gelu(Z), errors.DTypeError, "gelu: expects a real"),
    (lambda: Z.amax(), errors.DTypeError, "max: expects a real"),
    (lambda: Z.argmax(), errors.DTypeError, "arg_reduce: expects a real tensor, got complex64"),
    (lambda: Z.var(), errors.DTypeError, "var: expects a floating"),
    (lambda: Z.sort(), errors.DTypeError, "sort: expects a real"),
    (lambda: Z.median(), errors.DTypeError, "median: expects a real"),
    (lambda: tg.nansum(Z), errors.DTypeError, "nansum: expects a real"),
    (lambda: tg.cov(Z), errors.DTypeError, "cov: expects a real"),
    (lambda: tg.hypot(Z, Z), errors.DTypeError, "hypot: expects a real"),
    (lambda: tg.softmax(Z, 0), errors.DTypeError, "softmax: expects a floating"),
    (lambda: tg.nn.functional.mse_loss(Z, Z), errors.DTypeError, "mse_loss: expects a real"),
    (lambda: tg.nn.functional.conv1d(Z[None], Z[None]), errors.DTypeError, "conv: expects a real"),
    (lambda: tg.linalg.inv(Z[None]), errors.DTypeError, "inv: expects float32 or float64"),
    (lambda: tg.float_power(tg.ones(2), Z), errors.DTypeError, "complex64 is not converted"),
    (lambda: tg.zeros(2).add_(1j), errors.DTypeError, "add_: the result has dtype complex64"),
    (lambda: (tg.zeros(2) * leaf(2).real).mul_(1j), errors.DTypeError, "mul_: the result has"),
    (lambda: tg.zeros(2).fill_(1j), errors.DTypeError, "cannot hold values of complex64"),
    (lambda: tg.tensor([1j], dtype=tg.float32), errors.DTypeError, "does not hold complex"),
    (lambda: tg.complex(tg.ones(2), tg.ones(2, dtype=tg.float64)), errors.DTypeError, "one dtype"),
    (lambda: tg.polar(tg.ones(2), 1), errors.DTypeError, "polar: expects abs and angle of one"),
    (lambda: tg.ones(2).imag, errors.DTypeError, "imag: expects a complex tensor, got float32"),
    (lambda: tg.view_as_real(tg.ones(2)), errors.DTypeError, "view_as_real: expects a complex"),
    (lambda: tg.view_as_complex(tg.ones(3)), errors.ShapeError, "last axis of length 2"),
    (lambda: tg.view_as_complex(tg.ones(2, 4)[:, ::2]), errors.ShapeError, "side by side"),
    (lambda: tg.ones(2, 2, 2).H, errors.ShapeError, "H: expects a matrix"),
    (lambda: func.jacrev(lambda z: z)(Z), errors.DTypeError, "jacrev: can differentiate in"),
    (lambda: func.jacfwd(lambda x: x * 1j)(tg.ones(2)), errors.DTypeError, "jacfwd: func must"),
    (lambda: fft.fft(tg.ones(3, dtype=tg.float16)), errors.DTypeError, "fft: expects float32"),
    (lambda: fft.rfft(Z), errors.DTypeError, "rfft: expects a real tensor"),
    (lambda: fft.fft(Z, 0), errors.ValueError, "at least 1, got 0"),
    (lambda: fft.irfft(Z[:, :1]), errors.ValueError, "irfft: the length of a transform"),
    (lambda: fft.fft(Z, norm="both"), errors.ValueError, "fft: norm is one of"),
    (lambda: fft.fft(Z, dim=2), errors.IndexError, "fft: dim 2 is out of range"),
    (lambda: fft.fft(tg.tensor(1.0)), errors.ShapeError, "at least 1 dimension"),
    (lambda: fft.fft(Z, 1.5), errors.DTypeError, "lengths must be ints"),
    (lambda: fft.fftn(Z, (2,), (0, 1)), errors.ShapeError, "s has 1 entries for 2 axes"),
    (lambda: fft.fftn(Z, dim=(0, 0)), errors.ValueError, "names an axis twice"),
    (lambda: fft.rfftn(tg.ones(2), dim=()), errors.ShapeError, "at least one axis"),
    (lambda: fft.fftfreq(-1), errors.ValueError, "n must not be negative"),
    (lambda: fft.rfftfreq(4, dtype=tg.int64), errors.DTypeError, "expects a floating dtype"),
]  # fmt: skip


MISTAKES += [
    (lambda: tg.hann_window(-1), errors.ValueError, "hann_window: window_length must not be"),
    (lambda: tg.kaiser_window(3, dtype=tg.int64), errors.DTypeError, "kaiser_window: expects a fl"),
    (lambda: tg.stft(tg.ones(9), 4), errors.ValueError, "return_complex must be given"),
    (lambda: tg.stft(tg.ones(9), 4, 0, return_complex=True), errors.ValueError, "hop_length 0"),
    (lambda: tg.stft(tg.ones(9), 4, window=tg.ones(3), return_complex=True), errors.ShapeError,
     r"window of shape \(4,\)"),
    (lambda: tg.stft(tg.ones(3), 8, center=False, return_complex=True), errors.ShapeError,
     "n_fft 8 is more than the length 3"),
    (lambda: tg.stft(Z[0], 2, 1, onesided=True), errors.ValueError, "onesided is for real"),
    (lambda: tg.istft(tg.ones(3, 4), 4), errors.DTypeError, "istft: expects complex"),
    (lambda: tg.istft(tg.ones(3, 4) + 0j, 4, window=tg.hann_window(4), center=False),
     errors.ValueError, "leave a gap"),
    (lambda: tg.istft(tg.ones(3, 4) + 0j, 8), errors.ShapeError, "expects 5 frequencies"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_mistakes_are_named(number):
    call, error, words = MISTAKES[number]
    with pytest.raises(error, match=words):
        call()


# --- transforms -----------------------------------------------------------------------------------
ONE = "fft ifft rfft irfft hfft ihfft".split()
MANY = [f"{name}{n}" for name in ONE for n in ("n", "2")]


@pytest.mark.parametrize("name", [*ONE, *MANY])
def test_gradients_of_transforms(name):
    real = name.startswith(("rfft", "ihfft"))
    for options in ({}, {"norm": "ortho"}, {"norm": "forward"}):
        for shape in ((3, 4), (2, 5)):
            x = leaf(*shape, dtype="f8" if real else "c16")
            gradcheck(lambda x, o=options: getattr(fft, name)(x, **o), [x], second_order=True)


def test_transforms_agree_with_their_definition():
    x = numbers(7)
    k = np.arange(7)
    dft = np.exp(-2j * np.pi * np.outer(k, k) / 7) @ x
    for name, scale in (("backward", 1), ("ortho", 7**-0.5), ("forward", 1 / 7)):
        np.testing.assert_allclose(fft.fft(tg.from_numpy(x), norm=name).numpy(), dft * scale)
    half = fft.rfft(tg.from_numpy(x.real))
    assert_close(fft.irfft(half, 7), tg.from_numpy(x.real))
    assert_close(fft.hfft(fft.ihfft(tg.from_numpy(x.real)), 7), tg.from_numpy(x.real))
    assert fft.rfft(tg.ones(4)).dtype == tg.complex64 and fft.irfft(Z).dtype == tg.float32
    assert fft.fft(tg.tensor([1, 2])).dtype == tg.complex64
    assert fft.fftn(tg.ones(2, 3), dim=()).shape == (2, 3)


def test_stored_numbers_of_pytorch():
    for row in json.loads((Path(__file__).parent / "pytorch_complex.json").read_text())["rows"]:
        x = tg.view_as_complex(tg.tensor(row["x"], dtype=tg.float64)).requires_grad_()
        y = eval(row["call"], {"t": tg, "x": x})
        u = tg.tensor(row["u"], dtype=tg.float64)
        (g,) = tg.autograd.grad(y, x, tg.view_as_complex(u) if y.is_complex() else u)
        parts = tg.view_as_real(y.detach()) if y.is_complex() else y.detach()
        assert_close(parts, np.array(row["y"]), rtol=1e-12, what=row["call"])
        assert_close(tg.view_as_real(g), np.array(row["g"]), rtol=1e-12, what=row["call"])


# --- beside PyTorch -------------------------------------------------------------------------------
CALLS = """
x * y; x / y; x - y * 2j; x + 1; 2 ** x; x ** y; x ** 3; x ** -2; x ** 0.5; x @ y.mT; x.mH @ y
t.vdot(x[0], y[0]); t.einsum('ij,kj->ik', x, y); x.sum(0); x.mean(); x.prod(1); x.cumsum(0)
x.cumprod(1); t.cat([x, y]); t.stack([x, y], 1); x[1:, ::2]; x[[0, 1], [1, 2]]; x.T; x.real; x.imag
x.conj(); x.abs(); x.angle(); x.sgn(); t.polar(x.abs(), y.real); t.complex(x.real, y.imag)
t.view_as_real(x); t.view_as_complex(t.view_as_real(x) * 2); t.where(x.real > 0, x, y); x.roll(1, 0)
t.linalg.norm(x); t.norm(x, 1, 0); t.linalg.vecdot(x, y); x.to(t.complex64); x.reciprocal()
t.trapezoid(x, y); t.outer(x[0], y[0]); x.masked_fill(x.real > 0, 1j); t.diag(x[0]); t.kron(x, y)
t.lerp(x, y, 0.3); x.mul(y).add(y, alpha=2j); t.addmm(x @ x.mT, x, y.mT); x.expand(2, 3, 4)
t.fft.fft(x, 6); t.fft.ifft(x, 3, 0, 'ortho'); t.fft.irfft(x); t.fft.hfft(x, 5); t.fft.fft2(x)
t.fft.rfft(x.real, norm='forward'); t.fft.ihfft(x.imag); t.fft.fftn(x, (5, -1), (1, 0))
t.fft.irfftn(x, (4, 5)); t.fft.hfftn(x, norm='ortho'); t.fft.ihfftn(x.real); t.fft.rfftn(x.real)
t.fft.fftshift(x); t.fft.ifftshift(x, 1); t.fft.fft(x.real)
t.fft.irfft2(t.fft.rfft2(x.real) * y[:, :3]); t.istft(x, 4, 2); t.istft(x.mT, 4, 1, length=9)
t.istft(x.T, 4, center=False, return_complex=True); t.istft(x, 4, 3, normalized=True)
t.stft(x, 3, 1, center=False); t.stft(x.real, 4, 1, pad_mode='constant', return_complex=True)
t.stft(y.imag, 2, 1, window=x[0, :2].real, onesided=False, return_complex=True)
t.stft(x.ravel(), 5, 2, 3, t.hann_window(3, dtype=t.float64), normalized=True, return_complex=False)
"""


def beside(torch, call, arrays):
    xs = [tg.from_numpy(a.copy()).requires_grad_() for a in arrays]
    ts = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y, expected = call(tg, *xs), call(torch, *ts)
        plain = expected.detach().resolve_conj().resolve_neg().numpy()
        precision = 1e-5 if y.dtype.itemsize == 8 and y.is_complex() else 1e-11
        assert_close(y.detach(), plain, rtol=precision, atol=precision)
        u = numbers(*y.shape, dtype=y.dtype.str[1:], seed=9)
        theirs = torch.autograd.grad(expected, ts, torch.from_numpy(u), allow_unused=True)
    mine = tg.autograd.grad(y, xs, tg.from_numpy(u), allow_unused=True)
    for a, b in zip(mine, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert_close(a, b.resolve_conj().resolve_neg().numpy(), rtol=precision, atol=precision)


@pytest.mark.parametrize("text", [c for c in CALLS.replace("\n", ";").split(";") if c.strip()])
def test_beside_pytorch(text):
    torch = pytest.importorskip("torch")
    call = lambda t, x, y: eval(text.strip(), {"t": t, "x": x, "y": y})  # noqa: E731
    beside(torch, call, [numbers(3, 4), numbers(3, 4, seed=1)])


@pytest.mark.parametrize("name", ANALYTIC)
def test_functions_beside_pytorch(name):
    torch = pytest.importorskip("torch")
    beside(torch, lambda t, x: getattr(t, name)(x), [numbers(5, 5)])


@pytest.mark.parametrize("name", ONE)
def test_lengths_and_norms_beside_pytorch(name):
    torch = pytest.importorskip("torch")
    dtypes = ("f8", "f4") if name in ("rfft", "ihfft") else ("c16", "c8", "f8")
    for dtype, n, dim, norm in itertools.product(
        dtypes, (None, 1, 2, 4, 7), (-1, 0), (None, "ortho", "forward", "backward")
    ):
        call = lambda t, x: getattr(t.fft, name)(x, n, dim, norm)  # noqa: B023, E731
        if dtype in ("f4", "c8"):
            x = numbers(4, 5, dtype=dtype)
            ours, theirs = call(tg, tg.from_numpy(x)), call(torch, torch.from_numpy(x))
            assert_close(ours, theirs.resolve_conj().numpy(), rtol=1e-5, atol=1e-5)
        else:
            beside(torch, call, [numbers(4, 5, dtype=dtype)])


@pytest.mark.parametrize("kind", ["bartlett", "blackman", "hamming", "hann", "kaiser"])
def test_windows_beside_pytorch(kind):
    torch = pytest.importorskip("torch")
    for n, periodic, dtype in itertools.product(
        (0, 1, 2, 7), (True, False), ("float32", "float64")
    ):
        ours, theirs = (
            getattr(t, f"{kind}_window")(n, periodic, dtype=getattr(t, dtype)) for t in (tg, torch)
        )
        assert_close(ours, theirs.numpy(), atol=1e-6 if dtype == "float32" else 1e-14)


def test_a_signal_comes_back():
    x = tg.from_numpy(numbers(2, 40, dtype="f8"))
    w = tg.hann_window(16, dtype=tg.float64)
    for options in ({"center": True}, {"center": True, "normalized": True}):
        y = tg.stft(x, 16, window=w, return_complex=True, **options)
        assert_close(tg.istft(y, 16, window=w, **options), x)
    assert tg.hann_window(5, requires_grad=True).requires_grad
