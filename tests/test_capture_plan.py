"""What a plan leaves out: results that nobody reads, and calls that their neighbours do as they go.
The bits stay those of eager runs."""

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import kernels, nn, optim
from tilegrad.nn import functional as F


def same(a, b):
    a, b = a.detach().numpy(), b.detach().numpy()
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def names(f):
    return [line.split()[0] for line in f.explain().splitlines()[1:]]


def check(f, *args, calls=3):
    """The captured function, after replays that equal eager runs bit for bit."""
    g = tg.capture(f)
    for _ in range(calls):
        expected, found = f(*args), g(*args)
        expected = expected if isinstance(expected, tuple) else (expected,)
        found = found if isinstance(found, tuple) else (found,)
        assert all(same(a, b) for a, b in zip(expected, found, strict=True))
    return g


# --- results that nobody reads --------------------------------------------------------------------
def test_unread_results_are_left_out():
    def f(x):
        (x.exp() @ x.exp()).sum()  # nobody reads it
        y = x * 2.0
        y.add_(1.0)  # nor this, in place
        return x + 1.0

    def plain(x):
        return x + 1.0

    x = tg.randn(64, 64)
    g, h = check(f, x), check(plain, x)
    assert names(g) == names(h) == ["add"]
    assert "6 calls nobody needs left out" in g.explain()
    assert g._last.core.memory_bytes() == h._last.core.memory_bytes() == 0


def test_peaks_fall_with_them():
    """The gradient of an input that is detached later, and a loss that is only logged."""
    layers = [nn.Linear(256, 256) for _ in range(4)]

    def f(x):
        y = x
        for layer in layers:
            y = layer(y)
            y.square().mean()
        return y.detach()

    def plain(x):
        y = x
        for layer in layers:
            y = layer(y)
        return y.detach()

    x = tg.randn(128, 256)
    g, h = check(f, x), check(plain, x)
    assert len(names(g)) == len(names(h)) == 4
    assert g._last.core.memory_bytes() == h._last.core.memory_bytes()


def test_written_memory_is_not_unread():
    total, model = tg.zeros(3), nn.BatchNorm1d(3)
    x = tg.randn(5, 3)

    def f(x):
        total.add_(x.sum(0))
        model(x)  # moves the running estimates
        return x.max()

    g = tg.capture(f)
    before = model.running_mean.clone()
    for _ in range(3):
        g(x)
    expected = tg.zeros(3)
    for _ in range(3):
        expected.add_(x.sum(0))
    assert same(total, expected) and not same(model.running_mean, before)
    assert "batch_norm" not in names(g)  # but not what nobody reads


def test_random_streams_advance_without_the_numbers():
    def f(x):
        F.dropout(x, 0.5)
        tg.randn(7)
        return tg.rand(3)

    g = tg.capture(f)
    for _ in range(3):
        state = tg.get_rng_state()
        expected = f(tg.ones(5))
        after = tg.get_rng_state()
        tg.set_rng_state(state)
        assert same(g(tg.ones(5)), expected)
        assert same(tg.get_rng_state(), after)
    assert len(names(g)) == 1


def test_what_raises_stays():
    def f(x, i):
        x[i]
        return x.sum()

    g = tg.capture(f)
    x, i = tg.ones(4, 2), tg.tensor([0, 3])
    for _ in range(3):
        g(x, i)
    assert "calls nobody needs" in g.explain()
    with pytest.raises(tg.errors.IndexError, match="out of range"):
        g(x, tg.tensor([0, 4]))
    h = tg.capture(lambda x, y: (F.cross_entropy(x, y), x.sum())[1])
    for _ in range(3):
        h(x, tg.tensor([0, 1, 1, 0]))
    with pytest.raises(tg.errors.IndexError, match="target 2"):
        h(x, tg.tensor([0, 1, 2, 0]))


def test_optimizers_after_what_was_left_out():
    """Numbers of a step go to the call that is it, wherever it stands by now."""
    model = nn.Linear(3, 2)
    optimizer = optim.Adam(model.parameters(), lr=0.1)

    def step(x):
        optimizer.zero_grad()
        x.exp().sum()
        loss = model(x).square().sum()
        loss.backward()
        optimizer.step()
        return loss

    g = tg.capture(step)
    x = tg.ones(2, 3)
    twin = nn.Linear(3, 2)
    twin.load_state_dict(model.state_dict())
    other = optim.Adam(twin.parameters(), lr=0.1)
    for i in range(6):
        for o in (optimizer, other):
            o.param_groups[0]["lr"] = 0.1 / (i + 1)
        g(x)
        other.zero_grad()
        twin(x).square().sum().backward()
        other.step()
    assert all(same(p, q) for p, q in zip(model.parameters(), twin.parameters(), strict=True))
    assert "calls nobody needs" in g.explain()


# --- batch norm -----------------------------------------------------------------------------------
class Block(nn.Module):
    """Of a residual network, written with functions: nothing but a plan puts them together."""

    def __init__(self, inputs, outputs, stride, swapped=False, affine=True):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs, affine=affine)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs, affine=affine)
        self.short = None
        if stride > 1 or inputs != outputs:
            self.short = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.swapped = swapped

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        z = x if self.short is None else self.short(x)
        return F.relu(z + y if self.swapped else y + z)


def training(make, shape, dtype="float32", threads=1, channels_last=False, steps=4):
    """Losses, parameters and running estimates of some steps, eager and captured."""
    results, texts = [], ""
    before = tg.get_num_threads()
    tg.set_num_threads(threads)
    try:
        for captured in (False, True):
            tg.manual_seed(5)
            model = make().to(dtype)
            optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
            xs = [tg.randn(*shape).to(dtype) for _ in range(steps)]
            if channels_last:
                model = model.to(memory_format=tg.channels_last)
                xs = [x.contiguous(memory_format=tg.channels_last) for x in xs]

            def step(x, model=model, optimizer=optimizer):
                optimizer.zero_grad()
                loss = model(x).square().mean()
                loss.backward()
                optimizer.step()
                return loss

            run = tg.capture(step) if captured else step
            losses = [run(x).detach() for x in xs]
            results.append([*losses, *model.state_dict().values(),
                            *(p.grad for p in model.parameters())])  # fmt: skip
            if captured:
                texts = run.explain()
    finally:
        tg.set_num_threads(before)
    assert all(same(a, b) for a, b in zip(*results, strict=True))
    return texts


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("swapped", [False, True])
def test_residual_blocks(swapped, channels_last, threads, isa):
    def make():
        return nn.Sequential(Block(3, 8, 2, swapped), Block(8, 8, 1, swapped))

    text = training(make, (4, 3, 9, 9), threads=threads, channels_last=channels_last)
    lines = [line.split()[0] for line in text.splitlines()]
    assert lines.count("batch_norm+relu") == 2 and lines.count("batch_norm+add+relu") == 2
    # The gradient comes from the loss row-major, and is brought to channels_last before batch norm.
    assert lines.count("relu_grad+batch_norm_grad") == (2 if channels_last else 4)
    assert "relu" not in lines and ("relu_grad" in lines) == channels_last


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_residual_blocks_of_other_dtypes(dtype):
    text = training(lambda: Block(4, 4, 1), (2, 4, 5, 5), dtype)
    assert ("batch_norm+add+relu" in text) == (dtype == "float64")


def test_batch_norm_without_weights_and_what_else_is_read():
    training(lambda: Block(4, 4, 1, affine=False), (2, 4, 5, 5))

    class Read(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = nn.BatchNorm2d(3)

        def forward(self, x):
            y = self.bn(x)
            return F.relu(y) + y  # which is read twice

    assert "batch_norm+relu" not in training(Read, (2, 3, 4, 4))


def test_gradients_that_are_added_first():
    """Of large blocks: the sum of two gradients and the gradient of the ReLU are one chain."""
    text = training(
        lambda: nn.Sequential(Block(4, 4, 1), Block(4, 4, 1)), (4, 4, 70, 70), threads=2, steps=3
    )
    lines = text.splitlines()
    chained = [i for i, line in enumerate(lines) if line.startswith("relu_grad ")]
    assert chained and all("@block" in lines[i - 1] and "@block" in lines[i] for i in chained)
    assert "relu_grad+batch_norm_grad" in text


def test_a_residual_that_changes_in_between():
    bn = nn.BatchNorm1d(3).eval()

    def f(x, z):
        y = bn(x)
        kept = z.clone()
        x.add_(1.0)  # what batch norm has read
        return F.relu(y + kept).detach()

    g = tg.capture(f)
    for _ in range(3):
        x, z = tg.randn(4, 3), tg.randn(4, 3)
        w = x.clone()
        assert same(f(w, z), g(x, z)) and same(x, w)
    assert "batch_norm+add" not in g.explain()


def test_special_values_pass(isa):
    bn = nn.BatchNorm1d(4, affine=False).eval()
    bn.running_var.fill_(1.0 - 1e-5)
    x = tg.tensor(np.array([[np.nan, np.inf, -np.inf, -0.0], [1e-45, -1e-45, -1.0, 1.0]], "f"))
    assert "batch_norm+relu" in check(lambda x: F.relu(bn(x)).detach(), x).explain()


# --- products and what their results go through ---------------------------------------------------
ACTIVATIONS = {
    "relu": F.relu, "tanh": tg.tanh, "sigmoid": tg.sigmoid, "gelu": F.gelu, "silu": F.silu,
    "leaky_relu": F.leaky_relu, "square": tg.square,
}  # fmt: skip
PRODUCTS = [(1, 40, 70), (3, 5, 2), (4, 784, 256), (64, 100, 10), (70, 33, 65), (200, 700, 300)]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("size", PRODUCTS, ids=str)
def test_linear_and_activation(size, dtype, isa):
    m, k, n = size
    x, w, b = tg.randn(m, k).to(dtype), tg.randn(n, k).to(dtype), tg.randn(n).to(dtype)
    for name, function in ACTIVATIONS.items():
        g = check(lambda x, w, b, f=function: f(F.linear(x, w, b)), x, w, b, calls=2)
        assert names(g) == [f"linear+{name}"]
    check(lambda x, w: F.relu(x @ w.mT), x, w, calls=2)
    turned = tg.randn(k, m).to(dtype)
    check(lambda x, w: F.relu(x.mT @ w.mT), turned, w, calls=2)
    batches = tg.randn(3, m, k).to(dtype), tg.randn(3, k, n).to(dtype)
    assert names(check(lambda a, b: F.relu(a @ b), *batches, calls=2)) == ["matmul+relu"]


def test_large_products_and_activation(isa):
    """All threads share what they pack."""
    x, w = tg.randn(520, 1030), tg.randn(1100, 1030)
    assert names(check(lambda x: F.relu(F.linear(x, w)), x, calls=2)) == ["linear+relu"]


CONVS = {  # input, weight, arguments, algorithms beside direct and plain
    "3x3": ((2, 16, 12, 12), (18, 16, 3, 3), {"padding": 1}, ("winograd_4x3", "winograd_2x3")),
    "many channels": ((1, 80, 9, 9), (70, 80, 3, 3), {"padding": 1}, ("winograd_4x3",)),
    "5x5": ((2, 16, 10, 10), (16, 16, 5, 5), {"padding": 2}, ("winograd_2x5",)),
    "strided": ((2, 16, 9, 9), (16, 16, 3, 3), {"stride": 2}, ("winograd_4x3_by_2",)),
    "first": ((3, 1, 12, 12), (6, 1, 5, 5), {"stride": 2}, ("patches",)),
    "1x1": ((3, 20, 7, 7), (40, 20, 1, 1), {}, ("pointwise",)),
    "1x1, large": ((1, 20, 40, 40), (40, 20, 1, 1), {}, ("pointwise",)),
    "1x1, strided": ((3, 20, 8, 8), (12, 20, 1, 1), {"stride": 2}, ("pointwise",)),
    "covering": ((5, 8, 4, 4), (12, 8, 4, 4), {}, ("covering",)),
    "depthwise": ((2, 9, 8, 8), (9, 1, 3, 3), {"padding": 1, "groups": 9}, ("depthwise",)),
    "grouped": ((2, 8, 8, 8), (12, 4, 3, 3), {"groups": 2}, ()),
    "dilated": ((2, 8, 12, 12), (12, 8, 3, 3), {"dilation": 2, "padding": 2}, ()),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("kind", CONVS)
def test_convolution_and_activation(kind, dtype, isa):
    shape, weight, settings, algorithms = CONVS[kind]
    w, b = tg.randn(*weight).to(dtype), tg.randn(weight[0]).to(dtype)
    x = tg.randn(*shape).to(dtype)
    applied = set()
    for algorithm in ("", "direct", "plain", *algorithms):
        kernels.host._force_conv(algorithm)
        try:
            for layout in (tg.contiguous_format, tg.channels_last):
                y = x.contiguous(memory_format=layout)
                for f in (F.relu, tg.tanh) if algorithm == "" else (F.relu,):
                    g = check(lambda x, f=f: f(F.conv2d(x, w, b, **settings)), y, calls=2)
                    assert names(g) == [f"conv+{f.__name__}"]
                applied.add(g.explain().splitlines()[1].split()[1])
        finally:
            kernels.host._force_conv("")
    assert {"direct", "plain"} <= applied
    if dtype == "float32":
        assert set(algorithms) <= applied


def test_convolutions_along_one_and_three_axes():
    x, w = tg.randn(2, 3, 20), tg.randn(5, 3, 4)
    assert "conv+relu" in names(check(lambda x: F.relu(F.conv1d(x, w)), x))
    x, w = tg.randn(2, 3, 5, 6, 7), tg.randn(5, 3, 2, 3, 2)
    assert "conv+relu" in names(check(lambda x: F.relu(F.conv3d(x, w)), x))


def test_special_values_of_products(isa):
    """NaN, infinities, negative zeros and what underflows, in every way of multiplying."""
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-30, -1e-30, 1.0, -1.0], "f")
    for m, k, n in ((9, 1, 9), (1, 9, 40), (9, 9, 9), (40, 30, 50)):
        rng = np.random.default_rng(m + n)
        x, w = (tg.tensor(rng.choice(special, s)) for s in ((m, k), (n, k)))
        b = tg.tensor(rng.choice([-0.0, 0.0, np.nan, 1e-40, -1e-40], n).astype("f"))
        for f in (F.relu, tg.tanh):
            g = check(lambda x, w, b, f=f: f(F.linear(x, w, b)), x, w, b)
            assert len(names(g)) == 1
            check(lambda x, w, f=f: f(F.linear(x, w)), x, w)


def test_what_is_not_folded():
    x, w, b = tg.randn(4, 3), tg.randn(5, 3), tg.randn(5)
    both = check(lambda x: (y := F.linear(x, w, b), F.relu(y)), x)
    assert names(both) == ["linear", "relu"]
    part = check(lambda x: F.relu(F.linear(x, w, b)[:, 1:]), x)
    assert names(part) == ["linear", "relu"]
    empty = tg.ones(4, 0), tg.ones(5, 0), tg.full((5,), 1e-40)
    assert names(check(lambda x, w, b: F.relu(F.linear(x, w, b)), *empty)) == ["linear", "relu"]
    kept = check(lambda x: (F.linear(x, w) + b).relu(), x)
    assert len(names(kept)) == 3
    integers = tg.tensor([[1, -2], [3, 4]])
    assert names(check(lambda a: (a @ a).relu(), integers)) == ["matmul", "relu"]


@pytest.mark.parametrize("threads", [1, 2])
def test_networks_with_activations(threads, isa):
    def make():
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(64, 30), nn.ReLU(inplace=True), nn.Linear(30, 20), nn.Sigmoid(),
            nn.Linear(20, 10),
        )  # fmt: skip

    text = training(make, (8, 1, 16, 16), threads=threads)
    found = [line.split()[0] for line in text.splitlines()]
    for name in ("conv+relu", "conv+tanh", "linear+relu", "linear+sigmoid"):
        assert name in found, text


# --- algorithms -----------------------------------------------------------------------------------
def test_explain_names_algorithms():
    x, w = tg.randn(4, 784), tg.randn(256, 784)
    ways = {
        "dot": check(lambda x: F.linear(x, w), x),
        "few_rows": check(lambda a, b: a @ b, tg.randn(1, 50), tg.randn(50, 200)),
        "packed": check(lambda a, b: a @ b, tg.randn(300, 300), tg.randn(300, 300)),
        "integers": check(lambda a: a @ a, tg.ones(3, 3).long()),
        "widened": check(lambda a: a @ a, tg.ones(3, 3).half()),
    }
    for way, g in ways.items():
        assert g.explain().splitlines()[1].split()[1] == way


# --- results that view what was there before ------------------------------------------------------
def test_views_of_arguments():
    def f(x, pair):
        return x[:, 0], x.t(), pair["a"].detach()[1:].reshape(2, 2), x.detach(), x.expand(2, 3, 4)

    g = tg.capture(f)
    for k in range(4):
        x, a = tg.full((3, 4), float(k)), tg.arange(6.0, requires_grad=True)
        a = a[1:] if k > 4 else tg.arange(5.0 + k * 0)
        found, expected = g(x, {"a": a}), f(x, {"a": a})
        for y, z in zip(found, expected, strict=True):
            assert same(y, z) and y.stride() == z.stride()
            assert y._array.flags.writeable == z._array.flags.writeable
        found[0].fill_(9.0)  # writes into the argument
        assert x[:, 0].tolist() == [9.0] * 3 and found[1][0].tolist() == [9.0] * 3
        assert found[0]._version is x._version


def test_views_of_tensors_from_outside():
    table, w = tg.arange(12.0).reshape(3, 4), tg.ones(2, requires_grad=True)
    view = table[1:]

    def f(x):
        table.add_(x)
        return table[:, 1], view, w.detach(), x * 2.0

    g = tg.capture(f)
    for k in range(3):
        before = table.clone()
        a, b, c, d = g(tg.ones(1) * k)
        assert same(a, before[:, 1] + k) and b is view and same(b, before[1:] + k)
        assert c.tolist() == w.tolist() and d.tolist() == [2.0 * k]
    w.data = tg.zeros(2)
    assert g(tg.ones(1))[2].tolist() == [0.0, 0.0]
    w.data = tg.zeros(4)[::2]
    assert g(tg.ones(1))[2].stride() == (2,)
