"""capture(module): batch norms folded into the layers before them, weights made ready once."""

import copy

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import nn
from tilegrad.testing import assert_close


def same(a, b):
    a, b = a._array, b._array  # numpy() would tell plans that others may write there
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def close(found, expected):
    """Folding rounds every weight once more than the norm rounds its result: errors are some units
    in the last place of the largest of the sums."""
    eps = 1e-5 if expected.dtype == tg.float32 else 1e-13
    largest = float(expected.abs().max())
    assert_close(found, expected, rtol=0, atol=eps * max(1.0, largest))


def lived(module):
    """In eval mode, with statistics, scales and shifts as after training."""
    for m in module.modules():
        for name in ("running_mean", "bias"):
            t = getattr(m, name, None)
            if t is not None:
                t.data.copy_(tg.randn(t.shape, dtype=t.dtype) * 0.5)
        for name in ("running_var", "weight"):
            t = getattr(m, name, None)
            if t is not None and t.ndim == 1:
                t.data.copy_(tg.rand(t.shape, dtype=t.dtype) + 0.5)
    return module.eval()


def names(run):
    return [line.split()[0] for line in run.explain().splitlines()[1:]]


def plain(module, x):
    with tg.no_grad():
        return module(x)


BN1, BN2, BN3 = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d
FOLDED = {
    "conv1d": (lambda: [nn.Conv1d(3, 8, 3), BN1(8)], (2, 3, 20)),
    "conv2d": (lambda: [nn.Conv2d(3, 8, 3), BN2(8)], (2, 3, 9, 9)),
    "conv3d": (lambda: [nn.Conv3d(3, 8, 3), BN3(8)], (2, 3, 6, 6, 6)),
    "no_bias": (lambda: [nn.Conv2d(3, 8, 3, bias=False), BN2(8)], (2, 3, 9, 9)),
    "not_affine": (lambda: [nn.Conv2d(3, 8, 3), BN2(8, affine=False)], (2, 3, 9, 9)),
    "scale_alone": (lambda: [nn.Conv2d(3, 8, 3), BN2(8, bias=False)], (2, 3, 9, 9)),
    "one_channel": (lambda: [nn.Conv2d(3, 1, 3), BN2(1)], (2, 3, 9, 9)),
    "pointwise": (lambda: [nn.Conv2d(8, 16, 1), BN2(16)], (2, 8, 7, 7)),
    "covering": (lambda: [nn.Conv2d(8, 16, 4), BN2(16)], (2, 8, 4, 4)),
    "grouped": (lambda: [nn.Conv2d(8, 16, 3, groups=4), BN2(16)], (2, 8, 7, 7)),
    "depthwise": (lambda: [nn.Conv2d(8, 8, 3, groups=8), BN2(8)], (2, 8, 7, 7)),
    "dilated": (lambda: [nn.Conv2d(16, 16, 3, dilation=2), BN2(16)], (1, 16, 19, 19)),
    "few_tiles": (lambda: [nn.Conv2d(64, 130, 3, padding=1), BN2(130)], (1, 64, 9, 9)),
    "many_tiles": (lambda: [nn.Conv2d(16, 32, 3, padding=1), BN2(32)], (1, 16, 60, 60)),
    "winograd_5x5": (lambda: [nn.Conv2d(32, 32, 5, padding=2), BN2(32)], (1, 32, 30, 30)),
    "winograd_by_2": (lambda: [nn.Conv2d(64, 64, 3, 2, 1), BN2(64)], (1, 64, 30, 30)),
    "winograd_groups": (lambda: [nn.Conv2d(64, 64, 3, groups=2, padding=1), BN2(64)],
                        (1, 64, 20, 20)),
    "linear": (lambda: [nn.Linear(6, 8), BN1(8)], (5, 6)),
    "linear_no_bias": (lambda: [nn.Linear(6, 8, bias=False), BN1(8)], (5, 6)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [tg.float32, tg.float64])
@pytest.mark.parametrize("name", FOLDED)
def test_folded(name, dtype, isa):
    layers, shape = FOLDED[name]
    module = lived(nn.Sequential(*layers(), nn.Tanh()).to(dtype))
    run = tg.capture(module)
    for _ in range(3):
        x = tg.randn(*shape, dtype=dtype)
        close(run(x), plain(module, x))
    kind = "linear" if "linear" in name else "conv"
    assert names(run) == [f"{kind}+batch_norm", "tanh"]


def test_channels_last():
    module = lived(nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), BN2(32)))
    module = module.to(memory_format=tg.channels_last)
    run = tg.capture(module)
    for _ in range(3):
        x = tg.randn(2, 16, 12, 12).contiguous(memory_format=tg.channels_last)
        found, expected = run(x), plain(module, x)
        assert found.stride() == expected.stride()
        close(found, expected)
    assert names(run) == ["conv+batch_norm"]


@pytest.mark.parametrize("threads", [1, 2])
def test_residual_networks(threads):
    module = lived(tg.models.ResNet(tg.models.resnet.BasicBlock, [1, 1, 1, 1], 4))
    before = tg.get_num_threads()
    tg.set_num_threads(threads)
    try:
        run = tg.capture(module)
        for n in (1, 1, 3, 3, 1):
            x = tg.randn(n, 3, 64, 64)
            close(run(x), plain(module, x))
    finally:
        tg.set_num_threads(before)
    assert "batch_norm" not in names(run)
    found = [n for n in names(run) if n.startswith("conv+batch_norm")]
    assert len(found) == 12 and "conv+batch_norm+relu" in found and "add+relu" in names(run)
    assert "bytes of weights made ready" in run.explain()


def test_threads_do_not_change_bits():
    module = lived(tg.models.ResNet(tg.models.resnet.BasicBlock, [1, 1, 1, 1], 4))
    x = tg.randn(1, 3, 64, 64)
    before, found = tg.get_num_threads(), []
    try:
        for threads in (1, 2):
            tg.set_num_threads(threads)
            run = tg.capture(module)
            run(x)
            found.append(run(x))
    finally:
        tg.set_num_threads(before)
    assert same(*found)


def test_without_folding():
    """fold=False: the bits of the module itself; and so without a norm to fold, where the weights
    are made ready all the same."""
    module = lived(nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), BN2(32), nn.Tanh()))
    run = tg.capture(module, fold=False)
    for _ in range(3):
        x = tg.randn(1, 16, 14, 14)
        assert same(run(x), plain(module, x))
    assert names(run) == ["conv", "batch_norm", "tanh"]


@pytest.mark.parametrize("dtype", [tg.float32, tg.float16, tg.bfloat16, tg.float64])
@pytest.mark.parametrize("size", [9, 60])
@pytest.mark.parametrize("taps", [3, 5])
def test_kept_weights_have_the_same_bits(taps, size, dtype, isa):
    module = nn.Sequential(
        nn.Conv2d(32, 80, taps, padding=1), nn.ReLU(), nn.Conv2d(80, 64, 3, 2, 1)
    ).to(dtype)  # fmt: skip
    run = tg.capture(module)
    for i in range(4):
        if i == 2:
            module[0].weight.data.mul_(-1.5)
        x = tg.randn(1, 32, size, size).to(dtype)
        assert same(run(x), plain(module, x))
    kept = "bytes of weights made ready" in run.explain()
    assert kept if dtype == tg.float32 else not kept if dtype == tg.float64 else True


# --- what must not be folded ----------------------------------------------------------------------
class Twice(nn.Module):
    """A convolution whose result is used beside the norm too."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), BN2(8)

    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) + y


class Returned(Twice):
    def forward(self, x):
        y = self.conv(x)
        return self.norm(y), y


class Viewed(Twice):
    """The norm's channels are not those of the convolution."""

    def forward(self, x):
        return self.norm(self.conv(x).reshape(14, 8, 7, 1))


@pytest.mark.parametrize("make", [Twice, Returned, Viewed])
def test_a_result_used_elsewhere(make):
    module = lived(make())
    run = tg.capture(module)
    for _ in range(3):
        x = tg.randn(2, 3, 9, 9)
        found, expected = run(x), plain(module, x)
        if make is not Returned:
            found, expected = (found,), (expected,)
        for a, b in zip(found, expected, strict=True):
            assert same(a, b)
    assert any(n.startswith("batch_norm") for n in names(run))


@pytest.mark.parametrize("layer", [lambda: nn.Conv2d(3, 8, 3, padding=1), lambda: nn.Linear(9, 9)])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid])
def test_an_activation_before_the_norm(layer, activation):
    layer = layer()
    conv = isinstance(layer, nn.Conv2d)
    norm = nn.BatchNorm2d(8) if conv else nn.BatchNorm1d(9)
    module = lived(nn.Sequential(layer, activation(), norm))
    run = tg.capture(module)
    for _ in range(3):
        x = tg.randn(2, 3, 9, 9) if conv else tg.randn(4, 9)
        close(run(x), plain(module, x))
    assert any(n.endswith("batch_norm") for n in names(run))


def test_weights_that_share_memory():
    module, weight = lived(nn.Conv2d(16, 16, 3, padding=1)), tg.randn(16, 16, 3, 3)
    module.weight.data = weight
    run, x = tg.capture(module), tg.randn(2, 16, 20, 20)
    for _ in range(3):
        close(run(x), plain(module, x))
        weight.mul_(2.0)


def test_training_mode():
    """Norms that follow their batches are never folded, nor are others beside them."""
    module = lived(nn.Sequential(nn.Conv2d(3, 8, 3), BN2(8), nn.Conv2d(8, 8, 3), BN2(8)))
    module[1].train()
    twin = copy.deepcopy(module)
    run = tg.capture(module)
    for _ in range(4):
        x = tg.randn(2, 3, 9, 9)
        assert same(run(x), plain(twin, x))
        assert same(module[1].running_mean, twin[1].running_mean)
    assert names(run).count("batch_norm") == 2
    module.train()
    twin.train()
    for _ in range(3):
        x = tg.randn(2, 3, 9, 9)
        assert same(run(x), plain(twin, x))
    module.eval()
    twin.eval()
    for _ in range(3):
        x = tg.randn(2, 3, 9, 9)
        close(run(x), plain(twin, x))
    assert names(run) == ["conv+batch_norm"] * 2


def test_no_running_statistics():
    module = nn.Sequential(nn.Conv2d(3, 8, 3), BN2(8, track_running_stats=False)).eval()
    run = tg.capture(module)
    for _ in range(3):
        x = tg.randn(2, 3, 9, 9)
        assert same(run(x), plain(module, x))
    assert "batch_norm" in names(run)


def test_functions_are_not_folded():
    """Only capture(module) is for inference; a function has the bits of its eager run."""
    module = lived(nn.Sequential(nn.Conv2d(3, 8, 3), BN2(8)))
    run = tg.capture(lambda x: plain(module, x))
    for _ in range(3):
        x = tg.randn(2, 3, 9, 9)
        assert same(run(x), plain(module, x))
    assert names(run) == ["conv", "batch_norm"]


# --- what changes between replays -----------------------------------------------------------------
def shared():
    """One norm after two convolutions, one convolution before two norms."""
    conv, norm = nn.Conv2d(4, 4, 3, padding=1), BN2(4)
    return nn.Sequential(conv, norm, nn.Conv2d(4, 4, 3, padding=1), norm, conv, BN2(4))


def scaled(module):
    with tg.no_grad():
        module[0].weight *= 2.0


def element(module):
    with tg.no_grad():
        module[2].weight[1, 2, 0, 0] = 5.0


def through_a_view(module):
    module[0].weight.detach().view(-1)[3:9].fill_(2.0)


def replaced(module):
    module[0].weight.data = tg.randn(4, 4, 3, 3)


def loaded(module):
    module.load_state_dict(lived(shared()).state_dict())


def assigned(module):
    module.load_state_dict(lived(shared()).state_dict(), assign=True)


def trained(module):
    module.train()
    module(tg.randn(4, 4, 8, 8))
    module.eval()


def stepped(module):
    optimizer = tg.optim.SGD(module.parameters(), lr=0.1)
    module(tg.randn(2, 4, 8, 8)).square().mean().backward()
    optimizer.step()


def stepped_by_a_plan(module):
    optimizer = tg.optim.SGD(module.parameters(), lr=0.1)

    @tg.capture
    def step(x):
        optimizer.zero_grad()
        module(x).square().mean().backward()
        optimizer.step()

    for _ in range(3):
        step(tg.randn(2, 4, 8, 8))


CHANGES = {
    "weight": scaled,
    "element": element,
    "view": through_a_view,
    "bias": lambda m: m[0].bias.data.fill_(0.7),
    "mean": lambda m: m[1].running_mean.fill_(0.7),
    "var": lambda m: m[1].running_var.mul_(3.0),
    "scale": lambda m: m[5].weight.data.mul_(-1.0),
    "shift": lambda m: m[5].bias.data.add_(1.0),
    "reset": lambda m: m[3].reset_running_stats(),
    "init": lambda m: nn.init.normal_(m[0].weight),
    "data": replaced,
    "load_state_dict": loaded,
    "assign": assigned,
    "training": trained,
    "optimizer": stepped,
    "captured step": stepped_by_a_plan,
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_seen(change):
    module = lived(shared())
    run = tg.capture(module)
    x = tg.randn(2, 4, 8, 8)
    for _ in range(3):
        before = run(x)
    assert names(run) == ["conv+batch_norm"] * 3
    for again in (False, True):
        CHANGES[change](module)
        for _ in range(2):
            close(run(x), plain(module, x))
        assert again or not np.allclose(run(x).numpy(), before.numpy())
    assert names(run) == ["conv+batch_norm"] * 3


def by_numpy(module):
    a = module[0].weight.detach().numpy()
    return lambda: a.__imul__(1.25)


def by_dlpack(module):
    a = np.from_dlpack(module[1].running_mean)
    pointer = module[1].running_mean._array
    assert np.shares_memory(a, pointer)
    return lambda: pointer.__iadd__(0.5)  # what a library that writes through DLPack does


def from_numpy(module):
    a = np.random.default_rng(0).standard_normal((4, 4, 3, 3)).astype("f")
    module[0].weight.data = tg.from_numpy(a)
    return lambda: a.__imul__(1.25)


@pytest.mark.parametrize("exported", [by_numpy, by_dlpack, from_numpy])
@pytest.mark.parametrize("late", [False, True])
def test_exported_storages(exported, late):
    """Others may write there unseen, so what depends on it is not kept, and at once no more."""
    module = lived(shared())
    run = tg.capture(module)
    x = tg.randn(2, 4, 8, 8)
    if late:
        for _ in range(3):
            run(x)
        assert "batch_norm" not in names(run)
    write = exported(module)
    for _ in range(3):
        for _ in range(2):
            close(run(x), plain(module, x))
        write()
    assert "batch_norm" in names(run)


def test_saving_does_not_export(tmp_path):
    module = lived(shared())
    run = tg.capture(module)
    x = tg.randn(2, 4, 8, 8)
    run(x)
    tg.save(module.state_dict(), tmp_path / "m.safetensors")
    close(run(x), plain(module, x))
    assert names(run) == ["conv+batch_norm"] * 3


def test_grad_mode_makes_no_difference():
    module = lived(shared())
    run = tg.capture(module)
    x = tg.randn(2, 4, 8, 8)
    run(x)
    plan = run._last
    with tg.no_grad():
        assert same(run(x), run(x)) and run._last is plan
    run(x)
    assert run._last is plan


def test_memory_of_many_shapes():
    """Few plans keep what they made ready, and make it again when they are used again."""
    module = lived(nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), BN2(64)))
    run = tg.capture(module)
    images = [tg.randn(1, 64, n, n) for n in range(8, 16)]
    for x in images:
        run(x)
        run(x)
    ready = run._ready
    assert len(ready) == 4 and ready[0] is run._last
    kept = sum(p.core.kept_bytes() for p in ready)
    before = tg.memory_stats()["in_use"]
    for x in images * 2:
        close(run(x), plain(module, x))
    with tg.no_grad():
        module[0].weight *= 3.0
    for x in images * 2:
        close(run(x), plain(module, x))
    assert tg.memory_stats()["in_use"] <= before + kept / 2


def test_results_are_fresh():
    module = lived(nn.Sequential(nn.Conv2d(3, 8, 3), BN2(8)))
    run = tg.capture(module)
    x, y = tg.randn(1, 3, 8, 8), tg.randn(1, 3, 8, 8)
    run(x)
    a = run(x)
    b = run(y)
    close(a, plain(module, x))
    close(b, plain(module, y))
