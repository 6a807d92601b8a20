"""Indexing with tensors and masks against NumPy, its gradients, its errors; joining and padding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tilegrad as tg
from tilegrad import errors
from tilegrad.ops.index import embedding, one_hot
from tilegrad.ops.join import pad

SHAPE = (3, 4, 5)
X = np.arange(60).reshape(SHAPE)


def mask(*shape):
    return np.random.default_rng(len(shape)).integers(0, 2, shape).astype(bool)


# NumPy and PyTorch agree on these.
INDICES = [
    [2, 0],
    ([2, 0], [1, -4]),
    (..., [1, 1, -5]),
    (slice(None), [0, 3]),
    (slice(None, None, -2), [0, 3], slice(1, 4)),
    ([0, 2], slice(None), [4, 1]),
    ([[0], [2]], slice(None), [4, 1]),
    ([0, 2], None, [1, 3]),
    (None, [0, 2], ..., None),
    ([1], [[0, 1], [2, 3]], [0, 4]),
    (1, [0, 2]),
    (slice(1, 2), 3, [0, 0]),
    mask(*SHAPE),
    mask(3, 4),
    (mask(3), 1),
    (mask(3, 4), slice(None, None, 2)),
    (slice(None), mask(4, 5)),
    (np.array([True, False, True]), slice(None), np.array([1, 2])),
    True,
    False,
    (True, [1]),
    [],
    np.zeros((0, 2), np.int64),
    (slice(0, 0), [1, 2]),
    np.array([[1, 2], [0, 0]], np.int32),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_getitem_and_setitem_are_numpys(index):
    as_array = np.zeros(0, np.int64) if isinstance(index, list) and not index else index
    expected = X[as_array]
    for x in (X, np.asfortranarray(X), X[::-1][::-1]):
        y = tg.from_numpy(x)[index]
        np.testing.assert_array_equal(y.numpy(), expected)
    for values in (np.array(-7), np.arange(expected.size).reshape(expected.shape) * -1):
        for x in (X.copy(), np.asfortranarray(X)):
            wanted = x.copy()
            wanted[as_array] = values
            t = tg.from_numpy(x)
            t[index] = tg.from_numpy(values)
            np.testing.assert_array_equal(t.numpy(), wanted)


@st.composite
def indices(draw):
    """A random index of SHAPE on which NumPy and PyTorch agree (no int beside arrays apart)."""
    joint = draw(st.sampled_from([(), (1,), (2,), (3, 1), (2, 2)]))
    items = []
    for n in SHAPE:
        kind = draw(st.sampled_from(["slice", "array", "mask", "none"]))
        if kind == "array":
            flat = draw(st.lists(st.integers(-n, n - 1), min_size=4, max_size=4))
            shape = draw(st.sampled_from([joint, joint[-1:]]))
            items.append(np.resize(np.array(flat), shape or (1,)))
        elif kind == "mask" and joint in ((), (1,)):
            items.append(np.arange(n) == draw(st.integers(0, n - 1)))
        else:
            items.append(draw(st.slices(n)))
            if kind == "none":
                items.insert(draw(st.integers(0, len(items))), None)
    return tuple(items)


@given(indices())
@settings(max_examples=300, deadline=None)
def test_random_indices_are_numpys(index):
    np.testing.assert_array_equal(tg.from_numpy(X)[index].numpy(), X[index])
    x, wanted = X.copy(), X.copy()
    wanted[index] = -X[index] * 2
    tg.from_numpy(x)[index] = -X[index] * 2
    np.testing.assert_array_equal(x, wanted)


def test_ints_come_first_as_in_pytorch():
    x = tg.from_numpy(X)
    assert x[0, :, [1, 2]].shape == (4, 2)
    assert x[tg.tensor(0), :, [1, 2]].shape == (4, 2)
    np.testing.assert_array_equal(x[0, :, [1, 2]].numpy(), X[0][:, [1, 2]])
    y = tg.zeros(3, 4, 5)
    y[0, :, [1, 2]] = tg.arange(8).reshape(4, 2)
    np.testing.assert_array_equal(y[0, :, [1, 2]].numpy(), np.arange(8).reshape(4, 2))


E = errors
BAD_INDICES = [
    ([3], E.IndexError, "index 3 is out of range for size 3"),
    ([-4], E.IndexError, "index -4"),
    (([0], [4]), E.IndexError, "index 4 is out of range for size 4"),
    (([0, 1], [0, 1, 2]), E.IndexError, "do not broadcast"),
    (mask(3, 5), E.IndexError, r"mask of shape \(3, 5\) does not fit axes 0 to 2"),
    (([0], [0], [0], [0]), E.IndexError, "4 axes"),
    ((..., [0], ...), E.IndexError, "2 Ellipsis"),
    (np.array([0.0]), E.DTypeError, "integer"),
    (np.array([1], np.uint8), E.DTypeError, "uint8 is ambiguous"),
]


@pytest.mark.parametrize("index, error, message", BAD_INDICES, ids=lambda v: str(v)[:20])
def test_bad_indices(index, error, message):
    x = tg.from_numpy(X.copy())
    with pytest.raises(error, match=message):
        x[index]
    with pytest.raises(error, match=message):
        x[index] = 0
    assert (x.numpy() == X).all()


def test_bad_values_write_nothing():
    x = tg.zeros(3, 4)
    with pytest.raises(errors.ShapeError, match=r"\(3,\) does not broadcast .* \(2, 4\)"):
        x[[0, 1]] = tg.ones(3)
    with pytest.raises(errors.GradientError, match="leaf"):
        x.requires_grad_()[[0]] = 1
    assert not x.numpy(force=True).any()


def test_of_repeated_positions_the_last_stays_and_gets_the_gradient():
    v = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    x = tg.zeros(4) * v.sum()
    x[[2, 0, 2]] = v
    assert x.tolist() == [2, 0, 3, 0]
    (g,) = tg.autograd.grad((x * tg.tensor([1.0, 2, 4, 8])).sum(), v)
    assert g.tolist() == [0, 1, 4]


def test_a_changed_index_is_noticed():
    x, index = tg.ones(3, requires_grad=True), tg.tensor([0, 2])
    for y in (x[index], x.gather(0, index), x.index_select(0, index)):
        index[0] = 1
        with pytest.raises(errors.GradientError, match="changed in place"):
            y.sum().backward()


def test_gradients_add_in_index_order():
    x = tg.zeros(2, requires_grad=True)
    x[[1, 1, 1]].backward(tg.tensor([1e8, 1.0, -1e8]))
    assert x.grad.tolist() == [0, float(np.float32(1e8) + np.float32(1) - np.float32(1e8))]


def test_in_place_methods():
    x = tg.zeros(3)
    assert x.index_add_(0, [1, 1], tg.tensor([2.0, 3.0])) is x
    x.masked_fill_(tg.tensor([True, False, False]), 7).index_fill_(0, [2], -1)
    assert x.tolist() == [7, 5, -1]
    x.scatter_add_(0, tg.tensor([0]), tg.ones(1)).index_copy_(0, [2], tg.tensor([4.0]))
    x.index_put_((tg.tensor([0, 0]),), tg.tensor(1.0), accumulate=True)
    assert x.tolist() == [10, 5, 4]


def test_embedding_and_one_hot():
    table = tg.ones(5, 2, requires_grad=True)
    embedding(tg.tensor([[1, 3], [3, 0]]), table, padding_idx=-2).sum().backward()
    assert table.grad.numpy()[:, 0].tolist() == [1, 1, 0, 0, 0]
    for index in ([5], [-1]):
        with pytest.raises(errors.IndexError, match=r"embedding: index .* outside \[0, 5\)"):
            embedding(tg.tensor(index), table)
    assert embedding(tg.zeros(0, dtype=tg.int64), table).shape == (0, 2)
    with pytest.raises(errors.IndexError, match="class 3"):
        one_hot(tg.tensor([3]), 3)
    assert one_hot(tg.tensor(2)).tolist() == [0, 0, 1]
    with pytest.raises(errors.ValueError, match="num_classes"):
        one_hot(tg.zeros(0, dtype=tg.int64))


def test_nonzero():
    x = tg.tensor([[0.0, 2.0], [3.0, 0.0]])
    assert x.nonzero().tolist() == [[0, 1], [1, 0]]
    rows, columns = x.nonzero(as_tuple=True)
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])
    assert tg.tensor(3).nonzero().shape == (1, 0)


CALL_ERRORS = [
    (E.ShapeError, "off axis", lambda x: x.gather(0, tg.zeros(2, 5, dtype=tg.int64))),
    (E.DTypeError, "integer", lambda x: x.gather(0, tg.zeros(2, 4))),
    (E.IndexError, "dim 2", lambda x: x.gather(2, tg.zeros(2, 4, dtype=tg.int64))),
    (E.DTypeError, "src", lambda x: x.scatter_add(0, [[0]], tg.ones(1, 1, dtype=tg.float64))),
    (E.ShapeError, "no larger than src", lambda x: x.scatter_add(0, [[0, 1]], tg.ones(1, 1))),
    (E.ShapeError, "one dimension", lambda x: x.index_select(0, [[0]])),
    (E.ShapeError, r"source of shape \(2, 4\)", lambda x: x.index_add(0, [0, 1], tg.ones(2, 3))),
    (E.DTypeError, "mask must be bool", lambda x: x.masked_fill(tg.ones(3, 4), 0)),
    (E.DTypeError, "cannot hold", lambda x: x.long().masked_fill(x > 0, 0.5)),
    (E.ShapeError, "no dimensions", lambda x: x.masked_fill(x > 0, tg.ones(4))),
    (E.ShapeError, r"tensor 1 .*\(4, 3\)", lambda x: tg.cat([x, x.t()])),
    (E.ShapeError, "stack", lambda x: tg.cat([tg.tensor(1), tg.tensor(2)])),
    (E.DTypeError, "sequence of tensors, got Tensor", lambda x: tg.cat(x)),
    (E.ValueError, "at least one", lambda x: tg.stack([])),
    (E.ShapeError, "tensor 1", lambda x: tg.stack([x, x.t()])),
    (E.ShapeError, "pairs", lambda x: pad(x, (1,))),
    (E.ShapeError, "pairs", lambda x: pad(x, (1,) * 6)),
    (E.ShapeError, "pad: reflect", lambda x: pad(x, (4, 0), "reflect")),
    (E.ShapeError, "length 4", lambda x: pad(x, (-3, -2))),
    (E.ValueError, "mode", lambda x: pad(x, (1, 1), "mirror")),
    (E.ValueError, "as many shifts", lambda x: tg.roll(x, (1, 2), 0)),
    (E.IndexError, "flip: dim 2", lambda x: x.flip(2)),
    (E.ValueError, "twice", lambda x: x.flip(0, -2)),
]


@pytest.mark.parametrize("error, message, call", CALL_ERRORS)
def test_errors(error, message, call):
    with pytest.raises(error, match=message):
        call(tg.zeros(3, 4))


def test_cat_promotes_and_skips_legacy_empties():
    y = tg.cat([tg.zeros(0), tg.ones(2, 3, dtype=tg.int64), tg.zeros(1, 3)])
    assert y.shape == (3, 3) and y.dtype == tg.float32
    assert tg.hstack([tg.zeros(2, 1), tg.zeros(2, 3)]).shape == (2, 4)
    assert tg.vstack([tg.zeros(3), tg.zeros(2, 3)]).shape == (3, 3)


def test_flip_is_a_view():
    x = tg.arange(4)
    y = x.flip(0)
    x[3] = 9
    assert y.tolist() == [9, 2, 1, 0] and y.data_ptr() != x.data_ptr()
    assert tg.fliplr(tg.arange(4).reshape(2, 2)).tolist() == [[1, 0], [3, 2]]
    assert tg.flipud(tg.arange(2)).tolist() == [1, 0]


def test_numbers_are_rounded_once():
    """0.1 written into float64 is 0.1, not its float32."""
    x = tg.zeros(3, dtype=tg.float64)
    x[0] = 0.1
    x[tg.tensor([1])] = 0.1
    x[tg.tensor([False, False, True])] = 0.1
    assert x.tolist() == [0.1] * 3
    assert tg.empty(1, dtype=tg.float64).fill_(0.1).item() == 0.1
    assert x.masked_fill(x > 0, 0.2).tolist() == [0.2] * 3
    assert x.index_fill(0, tg.tensor([1]), 0.2).tolist() == [0.1, 0.2, 0.1]
    n = tg.zeros(1, dtype=tg.int64)
    n[0] = 2.7
    assert n.tolist() == [2]
