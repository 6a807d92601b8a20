"""Averaged weights against their formulas; SWALR is in test_schedulers and test_optimizers."""

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import nn
from tilegrad.errors import StateError
from tilegrad.errors import ValueError as TgValueError
from tilegrad.optim import swa_utils
from tilegrad.testing import assert_close


def model():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def wander(net, steps=7):
    """The weights after each of some random steps."""
    rng = np.random.default_rng(2)
    for _ in range(steps):
        with tg.no_grad():
            for p in net.parameters():
                p.copy_(tg.tensor(rng.standard_normal(p.shape).astype(np.float32)))
            net[1].running_mean.copy_(tg.tensor(rng.standard_normal(4).astype(np.float32)))
            net[1].num_batches_tracked.add_(1)
        yield {k: v.detach().numpy().copy() for k, v in net.state_dict().items()}


def equal(paths, count):
    return sum(paths) / count


def ema(paths, _):
    average = paths[0]
    for v in paths[1:]:
        average = 0.8 * average + 0.2 * v
    return average


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize(
    ("options", "law"),
    [
        ({}, equal),
        ({"avg_fn": swa_utils.get_swa_avg_fn()}, equal),
        ({"multi_avg_fn": swa_utils.get_swa_multi_avg_fn()}, equal),
        ({"avg_fn": swa_utils.get_ema_avg_fn(0.8)}, ema),
        ({"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.8)}, ema),
    ],
    ids=["default", "swa", "multi_swa", "ema", "multi_ema"],
)
def test_averages(options, law, use_buffers):
    net = model()
    average = swa_utils.AveragedModel(net, use_buffers=use_buffers, **options)
    seen = []
    for weights in wander(net):
        seen.append(weights)
        average.update_parameters(net)
    assert average.n_averaged.item() == 7
    state = average.state_dict()
    for name in ("0.weight", "1.bias", "2.bias"):
        assert_close(state[f"module.{name}"], law([w[name] for w in seen], 7), reduction_length=7)
    mean = state["module.1.running_mean"]
    if use_buffers:
        assert_close(mean, law([w["1.running_mean"] for w in seen], 7), reduction_length=7)
    else:
        assert (mean.numpy() == seen[-1]["1.running_mean"]).all()
        assert state["module.1.num_batches_tracked"].item() == 7
    x = tg.randn(5, 3)
    assert (average.eval()(x) == average.module(x)).all()
    other = swa_utils.AveragedModel(model())
    other.load_state_dict(state)
    assert other.n_averaged.item() == 7 and (other.eval()(x) == average(x)).all()


def test_the_average_is_a_model_of_its_own():
    net = model()
    average = swa_utils.AveragedModel(net)
    average.update_parameters(net)
    with tg.no_grad():
        net[0].weight.zero_()
    assert (average.module[0].weight != 0).all()
    assert average.module[0].weight.requires_grad


def test_update_bn_averages_over_the_batches():
    net = model()
    net[1].momentum = 0.3
    net.eval()
    batches = [tg.randn(6, 3) for _ in range(4)]
    swa_utils.update_bn([(x, "label") for x in batches], net)
    inner = [net[0](x).detach().numpy() for x in batches]
    assert_close(net[1].running_mean, np.mean([v.mean(0) for v in inner], 0), reduction_length=24)
    want = np.mean([v.var(0, ddof=1) for v in inner], 0)
    assert_close(net[1].running_var, want, reduction_length=24)
    assert net[1].momentum == 0.3 and not net.training
    assert net[1].num_batches_tracked.item() == 4
    plain = nn.Linear(2, 2)
    swa_utils.update_bn(iter([None]), plain)  # nothing to estimate: the loader is not asked
    with pytest.raises(Exception, match="linear"):
        swa_utils.update_bn([tg.ones(2, 9)], net)
    assert net[1].momentum == 0.3 and not net.training


def test_refusals():
    with pytest.raises(TgValueError, match=r"decay lies in \[0, 1\], got 1.5"):
        swa_utils.get_ema_multi_avg_fn(1.5)
    net = model()
    both = {"avg_fn": swa_utils.get_swa_avg_fn(), "multi_avg_fn": swa_utils.get_swa_multi_avg_fn()}
    with pytest.raises(TgValueError, match="avg_fn or multi_avg_fn, not both"):
        swa_utils.AveragedModel(net, **both)
    with pytest.raises(StateError, match="shapes of the parameters differ"):
        swa_utils.AveragedModel(nn.Linear(2, 2)).update_parameters(nn.Linear(3, 2))
