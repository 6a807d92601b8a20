"""The functions without kernels of their own, and ``tilegrad.linalg``: stored figures of PyTorch,
ties and NaN, results of several parts, classic mistakes, statistics of the draws."""

import builtins
import inspect
import math
import subprocess
import sys

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import cases, errors, linalg

NAN, INF = math.nan, math.inf


# --- figures of PyTorch ---------------------------------------------------------------------------
def positive(x):
    return x @ x.mT + tg.eye(3, dtype=x.dtype)


FUNCTIONS = {
    "einsum": lambda x: tg.einsum("ij,jk,ki->k", x, x, x),
    "cdist": lambda x: tg.cdist(x, x[:2] + 0.5, p=3.0),
    "erfinv": lambda x: tg.erfinv(x / 4),
    "lgamma": lambda x: tg.lgamma(x + 0.3),
    "digamma": lambda x: tg.digamma(x + 0.3),
    "polygamma": lambda x: tg.polygamma(2, x + 3.5),
    "logcumsumexp": lambda x: tg.logcumsumexp(x, 1),
    "quantile": lambda x: tg.quantile(x, tg.tensor([0.1, 0.6], dtype=x.dtype), dim=0),
    "cov": tg.cov,
    "kthvalue": lambda x: tg.kthvalue(x, 2, 0)[0],
    "cummax": lambda x: tg.cummax(x, 0)[0],
    "inv": linalg.inv,
    "det": linalg.det,
    "slogdet": lambda x: linalg.slogdet(x)[1],
    "solve": lambda x: linalg.solve(x, (x * x)[:, :2]),
    "cholesky": lambda x: linalg.cholesky(positive(x)),
    "qr": linalg.qr,
    "svdvals": linalg.svdvals,
    "eigvalsh": lambda x: linalg.eigvalsh(positive(x)),
    "pinv": lambda x: linalg.pinv(x[:, :2]),
    "matrix_exp": linalg.matrix_exp,
    "nuclear": lambda x: linalg.norm(x, "nuc"),
}
# For s = sum of cos(position + number of the result) * result, and its gradient r at X: s, the sum
# of r sin(position + 1), the sum of |r|. Source: PyTorch 2.13.0, float64.
X = [[1.0, -2.0, 0.5], [0.25, 3.0, -1.0], [2.0, 0.75, 1.5]]
FIGURES = {
    "einsum": (15.063493014853, 4.360708169736, 47.773536546567),
    "cdist": (0.453723599149, -0.687035685303, 1.925801168617),
    "erfinv": (-0.195055605385, 1.067242430229, 1.518710988513),
    "lgamma": (-0.2436588922, -1.313157277008, 5.34973966359),
    "digamma": (0.042885053903, 11.685786583935, 20.222703036514),
    "polygamma": (-0.517025531729, 0.780827328239, 0.980776498322),
    "logcumsumexp": (2.799112826793, 3.246714038694, 4.460319384191),
    "quantile": (-1.865935369058, -0.989032656035, 3.101167788376),
    "cov": (0.637120920024, 0.285014228378, 9.380969509418),
    "kthvalue": (1.197153311128, 1.317296881861, 1.956449142415),
    "cummax": (0.866026989148, 0.955735605039, 1.88872341429),
    "inv": (-0.06516982216, -0.02034251399, 2.518811448307),
    "det": (7.09375, 2.615370317288, 27.1875),
    "slogdet": (1.959214114682, 0.368686564552, 3.832599118943),
    "solve": (2.181666074872, -2.883270146869, 10.876804345929),
    "cholesky": (4.516141460601, -0.661305605776, 6.142010783755),
    "qr": (-1.19432133835, -1.14007115007, 6.210758693967),
    "svdvals": (4.959157744828, -0.55566116416, 2.776234038365),
    "eigvalsh": (-0.442336075818, 6.641934241046, 11.925447672961),
    "pinv": (0.081625114142, -0.020421356923, 0.582358135471),
    "matrix_exp": (-14.12411479705, 52.817059908221, 64.333310736686),
    "nuclear": (7.181674914074, 0.180100509866, 4.986903274903),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_of_pytorch(name):
    x = tg.tensor(X, dtype=tg.float64, requires_grad=True)
    y = FUNCTIONS[name](x)
    total = tg.tensor(0.0, dtype=tg.float64)
    for i, part in enumerate(y if isinstance(y, tuple) else (y,)):
        weights = np.cos(np.arange(part.numel()) + i).reshape(part.shape)
        total = total + (part * tg.from_numpy(np.asarray(weights))).sum()
    (r,) = tg.autograd.grad(total, [x])
    r = r.numpy()
    figures = total.item(), (r * np.sin(np.arange(9.0) + 1).reshape(3, 3)).sum(), np.abs(r).sum()
    np.testing.assert_allclose(figures, FIGURES[name], rtol=1e-9, atol=1e-10)


# --- ties, NaN and what is returned ---------------------------------------------------------------
def test_order_of_nan_and_equal_elements():
    x = tg.tensor([3.0, NAN, 1.0, 3.0, NAN, 2.0])
    assert tg.sort(x).indices.tolist() == [2, 5, 0, 3, 1, 4]
    assert tg.sort(x, descending=True).indices.tolist() == [1, 4, 0, 3, 5, 2]
    assert tg.topk(x, 3).indices.tolist() == [1, 4, 0]
    assert tg.topk(x, 3, largest=False).values.tolist() == [1, 2, 3]
    value, at = tg.median(x, 0)
    assert math.isnan(value.item()) and at.item() == 1 and math.isnan(tg.median(x).item())
    assert [t.item() for t in tg.nanmedian(x, 0)] == [2, 5]
    values, at = tg.cummax(tg.tensor([1.0, 3, 3, NAN, 5, NAN]), 0)
    assert at.tolist() == [0, 1, 2, 3, 3, 5] and math.isnan(values[4].item())
    assert tg.unique(x).shape == (5,)
    assert [t.item() for t in tg.mode(tg.tensor([2, 1, 2, 1, 3, 1, 2]))] == [1, 5]
    assert tg.searchsorted(tg.tensor([1.0, 2, 2, 3]), tg.tensor([2.0, NAN]), right=True).tolist() \
        == [3, 4]  # fmt: skip
    assert tg.bfloat16 == tg.sort(x.bfloat16()).values.dtype
    for q in ("linear", "lower", "nearest"):
        assert math.isnan(tg.quantile(x, 0.0, interpolation=q).item())


def test_selection_of_a_few_is_the_start_of_the_order():
    rng = np.random.default_rng(0)
    for values in (rng.integers(0, 9, (3, 40, 2)), rng.standard_normal((3, 40, 2)),
                   rng.integers(0, 2, (3, 40, 2)).astype(bool)):  # fmt: skip
        x = tg.from_numpy(values)
        for largest in (True, False):
            whole = tg.sort(x, 1, descending=largest)
            for k in (1, 3, 5, 6, 40):
                values, at = tg.topk(x, k, 1, largest)
                assert tg.equal(at, whole.indices[:, :k]) and tg.equal(values, whole.values[:, :k])


def test_gradients_go_to_what_was_chosen():
    x = tg.tensor([1.0, 3.0, 3.0, 2.0], requires_grad=True)
    for y, expected in (
        (tg.median(x), [0, 0, 0, 1]),
        (tg.median(tg.cat([x, x[1:2]])), [0, 1, 1, 0]),  # shared by the three, one twice in x
        (tg.topk(x, 1).values.sum(), [0, 1, 0, 0]),
        (tg.unique(x).sum(), [1, 1, 0, 1]),
        (tg.scatter_reduce(tg.zeros(1), 0, tg.zeros(4, dtype=tg.int64), x, "amax").sum(),
         [0, 0.5, 0.5, 0]),
        (tg.scatter(tg.zeros(1), 0, tg.zeros(4, dtype=tg.int64), x).sum(), [0, 0, 0, 1]),
    ):  # fmt: skip
        (g,) = tg.autograd.grad(y, [x])
        if expected == [0, 1, 1, 0]:
            np.testing.assert_allclose(g.numpy(), [0, 2 / 3, 1 / 3, 0], rtol=1e-6)
        else:
            assert g.tolist() == expected


def test_results_of_several_parts_have_names():
    x = tg.tensor([[2.0, 1.0], [1.0, 3.0]])
    for y, names in (
        (tg.sort(x), ("values", "indices")),
        (tg.aminmax(x), ("min", "max")),
        (linalg.slogdet(x), ("sign", "logabsdet")),
        (linalg.qr(x), ("Q", "R")),
        (linalg.eigh(x), ("eigenvalues", "eigenvectors")),
        (linalg.svd(x), ("U", "S", "Vh")),
        (linalg.lstsq(x, x), ("solution", "residuals", "rank", "singular_values")),
    ):
        assert y._fields == names
    assert tg.svd(x).V.shape == (2, 2)


def test_whole_tensors_are_compared():
    a = tg.tensor([1.0, NAN, INF])
    assert not tg.equal(a, a) and tg.equal(a[::2], a[::2]) and not tg.equal(a, a[:2])
    assert not a.allclose(a) and a.allclose(a, equal_nan=True)
    assert tg.isclose(tg.tensor([INF, 1.0]), tg.tensor([1.0, INF])).tolist() == [False, False]
    assert tg.isclose(tg.tensor([10]), tg.tensor([11]), rtol=0.1).tolist() == [True]


def test_dtypes_of_integers():
    i = tg.tensor([3, 1, 2])
    assert tg.lgamma(i).dtype == tg.rad2deg(i).dtype == tg.sinc(i).dtype == tg.float32
    for y in (
        *(tg.sort(i).values, tg.einsum("i,i->", i, i), tg.diff(i), tg.median(i), tg.diag(i)),
        *(tg.addmv(i[:2], i.expand(2, 3), i), tg.nan_to_num(i), tg.bincount(i)),
        tg.cummin(i, 0).values,
    ):
        assert y.dtype == tg.int64
    assert tg.float_power(i, 2).dtype == tg.float64
    assert tg.bincount(i, tg.ones(3)).dtype == tg.float32
    assert tg.bincount(i, i).dtype == tg.float64


def test_views_and_in_place():
    x = tg.zeros(3, 3)
    x.diagonal()[:] = 2
    assert x.trace().item() == 6 and x.fill_diagonal_(5).diagonal().tolist() == [5, 5, 5]
    assert tg.zeros(5).unfold(0, 2, 1).stride() == (1, 1)
    y = tg.tensor([1.0, 2.0])
    assert y.addcmul_(y, y, value=2) is y and y.tolist() == [3, 10]
    assert y.masked_scatter_(tg.tensor([False, True]), tg.tensor([7.0])).tolist() == [3, 7]
    assert y.scatter_(0, tg.tensor([0]), 9.0).tolist() == [9, 7]
    assert y.addmv_(tg.eye(2), tg.ones(2), beta=0).tolist() == [1, 1]
    assert y.arctan2_(tg.ones(2)).shape == (2,) and y.true_divide_(2).shape == (2,)


# --- mistakes -------------------------------------------------------------------------------------
A, V, I3 = tg.ones(2, 3), tg.ones(3), tg.tensor([0, 1, 2])
MISTAKES = [
    (lambda: tg.einsum("ij,jk->ik", A), errors.ValueError, "einsum: 'ij,jk->ik' is about 2"),
    (lambda: tg.einsum("ijk", A), errors.ShapeError, r"'ijk' does not name .* \(2, 3\)"),
    (lambda: tg.einsum("i1", A), errors.ValueError, "einsum: '1' in 'i1'"),
    (lambda: tg.einsum("ij->ii", A), errors.ValueError, "einsum: 'i' stands twice"),
    (lambda: tg.einsum("ij->k", A), errors.ValueError, "einsum: 'k' in the output"),
    (lambda: tg.einsum("ii", A), errors.ShapeError, "einsum: axes 'i' have lengths 2 and 3"),
    (lambda: tg.einsum("ij,ik->jk", A, V[:, None]), errors.ShapeError, "lengths 2 and 3"),
    (lambda: tg.einsum("i->", V > 0), errors.DTypeError, "einsum: expects numbers, got bool"),
    (lambda: tg.tensordot(A, A, 1), errors.ShapeError, "tensordot: axes .* do not fit"),
    (lambda: tg.addmm(tg.ones(7), A, A.t()), errors.ShapeError, "shapes|addmm"),
    (lambda: tg.addmm(tg.ones(7), A, A.t(), beta=0), errors.ShapeError, "addmm: input"),
    (lambda: tg.chain_matmul(A, A), errors.ShapeError, "chain_matmul: shapes"),
    (lambda: tg.cdist(A, tg.ones(2, 4)), errors.ShapeError, "cdist: expects"),
    (lambda: tg.cdist(A, A, p=-1), errors.ValueError, "cdist: p must not be negative"),
    (lambda: tg.isclose(A, A.double()), errors.DTypeError, "isclose: expects one dtype"),
    (lambda: tg.heaviside(A, A.double()), errors.DTypeError, "heaviside: expects one dtype"),
    (lambda: tg.gcd(A, A), errors.DTypeError, "gcd: expects integers, got float32"),
    (lambda: tg.diagonal(V), errors.ShapeError, "diagonal: expects at least 2 dimensions"),
    (lambda: tg.diagonal(A, 0, 1, 1), errors.ValueError, "diagonal: dim1 and dim2 name one"),
    (lambda: tg.trace(V), errors.ShapeError, r"trace: expects a matrix, got shape \(3,\)"),
    (lambda: tg.meshgrid(V, indexing="ab"), errors.ValueError, "meshgrid: indexing is"),
    (lambda: tg.repeat_interleave(V, tg.tensor([1, 2])), errors.ShapeError, "one count or 3"),
    (lambda: V.repeat(2**61), errors.MemoryError, "repeat"),
    (lambda: A.repeat(2), errors.ShapeError, "repeat: expects a count per axis"),
    (lambda: tg.tensor_split(V, 0), errors.ValueError, "tensor_split: expects at least 1"),
    (lambda: tg.hsplit(V, 2), errors.ShapeError, "hsplit: axis 0 of length 3"),
    (lambda: V.unfold(0, 9, 1), errors.ShapeError, "unfold: size 9"),
    (lambda: tg.rot90(V), errors.ShapeError, "rot90: expects two dims"),
    (lambda: tg.scatter(V, 0, I3 + 1, V), errors.IndexError, "scatter: index 3 is out of range"),
    (lambda: tg.scatter(V, 0, I3, V.double()), errors.DTypeError, "scatter: expects src"),
    (lambda: tg.scatter(V, 0, I3, V[:2]), errors.ShapeError, "scatter: expects index no larger"),
    (lambda: tg.scatter(V, 0, I3), errors.ValueError, "scatter: expects src or value"),
    (lambda: tg.scatter_reduce(V, 0, I3, V, "max"), errors.ValueError, "reduce must be one of"),
    (lambda: tg.masked_scatter(V, V > 0, V[:1]), errors.ShapeError, "mask has 3 places"),
    (lambda: tg.topk(V, 4), errors.IndexError, "topk: k = 4 is out of range"),
    (lambda: tg.kthvalue(V, 0), errors.IndexError, "kthvalue: k = 0 is out of range"),
    (lambda: tg.median(tg.ones(0, 2), 0), errors.IndexError, "median: dim 0"),
    (lambda: tg.sort(V, 1), errors.IndexError, "sort: dim 1 is out of range"),
    (lambda: tg.searchsorted(A, tg.ones(3, 1)), errors.ShapeError, "searchsorted: sorted_seq"),
    (lambda: tg.bincount(V), errors.DTypeError, "bincount: index must be of an integer dtype"),
    (lambda: tg.bincount(tg.tensor([-1])), errors.ValueError, "bincount: expects"),
    (lambda: tg.bincount(tg.tensor([2**61])), errors.MemoryError, "bincount"),
    (lambda: tg.histc(I3), errors.DTypeError, "histc: expects a floating tensor, got int64"),
    (lambda: tg.quantile(V, 1.5), errors.ValueError, "quantile: expects elements, and q"),
    (lambda: tg.quantile(V, 0.5, interpolation="x"), errors.ValueError, "interpolation is one of"),
    (lambda: tg.cov(A, fweights=V), errors.DTypeError, "cov: fweights has dtype float32"),
    (lambda: tg.multinomial(-V, 1), errors.ValueError, "multinomial: weights must be"),
    (lambda: tg.multinomial(V, 4), errors.ValueError, "multinomial: cannot draw 4 of 3"),
    (lambda: tg.poisson(-V), errors.ValueError, "poisson: rates"),
    (lambda: linalg.inv(A), errors.ShapeError, r"linalg.inv: expects square .* \(2, 3\)"),
    (lambda: linalg.inv(tg.ones(2, 2)), errors.LinAlgError, "linalg.inv: singular matrix"),
    (lambda: linalg.inv(tg.eye(2).half()), errors.DTypeError, "linalg.inv: .* got float16"),
    (lambda: linalg.svd(tg.eye(2).bfloat16()), errors.DTypeError, "linalg.svd: .* bfloat16"),
    (lambda: linalg.cholesky(-tg.eye(2)), errors.LinAlgError, "linalg.cholesky: .* positive def"),
    (lambda: linalg.solve(tg.eye(2), V), errors.ShapeError, "linalg.solve: expects B of 2 rows"),
    (lambda: linalg.solve(tg.eye(2).expand(3, 2, 2), tg.ones(4, 2, 1)), errors.ShapeError,
     "linalg.solve: the leading axes"),
    (lambda: linalg.qr(A, "full"), errors.ValueError, "linalg.qr: mode is"),
    (lambda: linalg.eigh(tg.eye(2), "X"), errors.ValueError, "linalg.eigh: UPLO"),
    (lambda: linalg.matrix_norm(A, 3), errors.ValueError, "linalg.matrix_norm: no norm is named 3"),
    (lambda: linalg.norm(V, "fro"), errors.ValueError, "linalg.norm: ord 'fro' needs dim"),
    (lambda: linalg.cross(A, tg.ones(2, 2)), errors.ShapeError, "linalg.cross: expects length 3"),
    (lambda: linalg.multi_dot([A]), errors.ValueError, "linalg.multi_dot: expects at least 2"),
    (lambda: linalg.lstsq(A, V), errors.ShapeError, "linalg.lstsq: A"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_mistakes_are_named(number):
    call, error, words = MISTAKES[number]
    with pytest.raises(error, match=words):
        call()
    assert issubclass(errors.LinAlgError, builtins.RuntimeError)


# --- special functions and draws ------------------------------------------------------------------
def test_special_functions_against_scipy():
    special = pytest.importorskip("scipy.special")
    x = np.concatenate([np.linspace(0.01, 30, 500), [1e-8, 300.0, 1e6]])
    negative = np.linspace(-6.33, -0.17, 200)
    for n in range(5):
        expected = special.polygamma(n, x)
        y = tg.polygamma(n, tg.from_numpy(x)).numpy()
        np.testing.assert_allclose(y, expected, rtol=2e-14, atol=1e-14)
    np.testing.assert_allclose(
        tg.digamma(tg.from_numpy(negative)).numpy(),
        special.digamma(negative),
        rtol=1e-12,
        atol=1e-12,
    )
    np.testing.assert_allclose(
        tg.lgamma(tg.from_numpy(x)).numpy(), special.gammaln(x), rtol=1e-14, atol=2e-15
    )
    p = np.concatenate([np.linspace(-1, 1, 401)[1:-1], [1 - 1e-16, 1e-300, -1 + 1e-13]])
    np.testing.assert_allclose(
        tg.erfinv(tg.from_numpy(p)).numpy(), special.erfinv(p), rtol=1e-15 * 4
    )
    poles = tg.tensor([0.0, -1.0, INF, NAN])
    assert tg.lgamma(poles).tolist()[:3] == [INF, INF, INF]
    assert tg.digamma(poles)[0].item() == -INF and math.isnan(tg.digamma(poles)[1].item())
    assert tg.erfinv(tg.tensor([1.0, -1.0])).tolist() == [INF, -INF]


def test_draws_have_the_distribution_they_name():
    g = tg.Generator()
    g.manual_seed(7)
    w = tg.tensor([1.0, 2.0, 0.0, 5.0])
    seen = tg.bincount(tg.multinomial(w, 80000, True, generator=g), minlength=4).numpy() / 80000
    np.testing.assert_allclose(seen, [0.125, 0.25, 0, 0.625], atol=0.008)  # 4.7 deviations
    pairs = tg.multinomial(w[[0, 1, 3]].expand(40000, 3), 2, generator=g).numpy()
    assert (pairs[:, 0] != pairs[:, 1]).all()
    first, second = (np.bincount(pairs[:, i], minlength=3) / 40000 for i in (0, 1))
    p = np.array([1, 2, 5]) / 8
    after = [sum(p[j] * p[i] / (1 - p[j]) for j in range(3) if j != i) for i in range(3)]
    np.testing.assert_allclose(first, p, atol=0.012)
    np.testing.assert_allclose(second, after, atol=0.012)
    rate = tg.full((50000,), 3.5)
    counts = tg.poisson(rate, g)
    assert abs(counts.mean().item() - 3.5) < 0.04 and abs(counts.var().item() - 3.5) < 0.15
    g.manual_seed(7)
    tg.multinomial(w, 80000, True, generator=g)
    tg.multinomial(w[[0, 1, 3]].expand(40000, 3), 2, generator=g)
    assert tg.equal(tg.poisson(rate, g), counts)


# --- linalg as a whole ----------------------------------------------------------------------------
def test_linalg_is_loaded_when_used():
    code = "import sys, tilegrad as tg; assert 'tilegrad.linalg' not in sys.modules; " \
           "tg.det(tg.eye(2)); assert 'tilegrad.linalg' in sys.modules"  # fmt: skip
    subprocess.run([sys.executable, "-c", code], check=True)


def test_linalg_is_documented_and_has_cases():
    rows = {c.op for c in cases.all_cases()}
    for name in linalg.__all__:
        fn = getattr(linalg, name)
        if inspect.isclass(fn) or name == "matmul":
            continue
        assert f"linalg.{name}" in rows, name
        assert ">>> import tilegrad as tg" in fn.__doc__
        for parameter in inspect.signature(fn).parameters:
            known = {"A", "B", "input", "other", "x", "y", "dtype", "keepdim", "n", "dim"}
            assert parameter in known or parameter in fn.__doc__, (name, parameter)


def test_factorisations_reassemble():
    rng = np.random.default_rng(3)
    for m, n in ((5, 3), (3, 5), (4, 4), (0, 3), (3, 0)):
        a = tg.from_numpy(rng.standard_normal((2, m, n)))
        for full in (False, True):
            u, s, vh = linalg.svd(a, full)
            k = min(m, n)
            back = (u[..., :k] * s[..., None, :]) @ vh[..., :k, :]
            np.testing.assert_allclose(back.numpy(), a.numpy(), atol=1e-14)
            q, r = linalg.qr(a, "complete" if full else "reduced")
            np.testing.assert_allclose((q @ r).numpy(), a.numpy(), atol=1e-14)
            for basis in (u, q):
                eye = np.broadcast_to(np.eye(basis.shape[-1]), (2, *basis.shape[-1:] * 2))
                np.testing.assert_allclose((basis.mT @ basis).numpy(), eye, atol=1e-14)
        p = linalg.pinv(a)
        np.testing.assert_allclose((a @ p @ a).numpy(), a.numpy(), atol=1e-13)
    x = tg.from_numpy(rng.standard_normal((4, 4)))
    for scale in (1e-3, 1.0, 30.0):
        e, back = linalg.matrix_exp(x * scale), linalg.matrix_exp(x * -scale)
        size = float(e.abs().max() * back.abs().max())
        np.testing.assert_allclose((e @ back).numpy(), np.eye(4), atol=1e-14 * (1 + size))
    assert linalg.cond(tg.tensor([[1.0, 0.0], [0.0, 0.0]]), 1).item() == INF


def test_equal_singular_values_have_finite_gradients():
    x = tg.eye(3, dtype=tg.float64, requires_grad=True)
    (g,) = tg.autograd.grad(linalg.svdvals(x).sum(), [x])
    np.testing.assert_allclose(g.numpy(), np.eye(3), atol=1e-15)
    (g,) = tg.autograd.grad(linalg.eigvalsh(x).sum(), [x])
    np.testing.assert_allclose(g.numpy(), np.eye(3), atol=1e-15)
    y = tg.tensor(np.diag([1.0, 2.0, 0.0]), requires_grad=True)
    (g,) = tg.autograd.grad(linalg.det(y), [y])
    np.testing.assert_allclose(g.numpy(), np.diag([0.0, 0.0, 2.0]), atol=1e-15)


def test_limits_of_dtypes():
    """Source of the figures: PyTorch 2.13.0."""
    f = tg.finfo(tg.bfloat16)
    assert (f.bits, f.eps, f.max, f.tiny) == (16, 0.0078125, 3.3895313892515355e38, 2.0**-126)
    assert tg.finfo(tg.float32).eps == 2.0**-23 and tg.finfo().bits == 32
    assert tg.finfo(tg.float64).min == -1.7976931348623157e308
    assert (tg.iinfo(tg.uint8).max, tg.iinfo(tg.int64).min) == (255, -(2**63))
    with pytest.raises(errors.DTypeError, match="finfo: expects a floating dtype, got int64"):
        tg.finfo(tg.int64)
    with pytest.raises(errors.DTypeError, match="iinfo: expects an integer dtype, got float32"):
        tg.iinfo(tg.float32)
