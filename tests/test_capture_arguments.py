"""capture: what arguments may be, and tensors that share memory."""

import pytest

import tilegrad as tg


def test_shapes_numbers_and_structures():
    f = tg.capture(lambda x, n, pair=(0.0,), **more: {"y": [x * n + pair[0]], "n": n, **more})
    for n in (1, 2, 2.0, 2):
        for shape in ((2,), (3,), (2, 2)):
            x = tg.ones(*shape)
            r = f(x, n, pair=(x, 1), k="a")
            assert r["y"][0].tolist() == (x * n + x).tolist()
            assert (r["n"], r["k"], type(r["n"])) == (n, "a", type(n))
    x = tg.ones(3)
    assert f(x, 1)["y"][0].tolist() == [1.0] * 3
    assert tg.capture(lambda a, b: a + b)(x, x).tolist() == [2.0] * 3


def test_the_same_tensor_twice():
    f = tg.capture(lambda a, b: a * 2.0 + b)
    x, y = tg.ones(2), tg.full((2,), 5.0)
    assert [f(x, x).tolist(), f(x, x).tolist()] == [[3.0, 3.0]] * 2
    assert [f(x, y).tolist(), f(y, x).tolist()] == [[7.0, 7.0], [11.0, 11.0]]


def test_arguments_that_share_memory():
    base = tg.arange(6).float()
    f = tg.capture(lambda a, b: a + b)
    assert f(base[:4], base[2:]).tolist() == [2, 4, 6, 8]
    x, y = tg.ones(4), tg.zeros(4)
    assert f(x, y).tolist() == [1.0] * 4
    assert f(base[:4], base[2:]).tolist() == [2, 4, 6, 8]


def test_a_method():
    class Scaled:
        factor = tg.full((1,), 3.0)

        @tg.capture
        def times(self, x):
            return x * self.factor

    s = Scaled()
    assert [s.times(tg.ones(2)).tolist() for _ in range(3)] == [[3.0, 3.0]] * 3


def test_arguments_that_are_known_otherwise():
    w = tg.ones(4)
    f = tg.capture(lambda x: (x * w[:2].sum() + w).sum())
    assert f(w).item() == 12.0  # the argument is the variable
    assert [f(tg.full((4,), 2.0)).item(), f(w).item()] == [20.0, 12.0]
    g = tg.capture(lambda a, b: a[1:3].sum() + b.sum())
    base = tg.arange(6).float()
    assert g(base[:4], base[1:3]).item() == 6.0  # b is a part of a
    assert g(tg.ones(4), tg.zeros(2)).item() == 2.0


def test_writing_into_arguments():
    def f(a, b):
        a.copy_(b)
        return b.sum()

    g = tg.capture(f)
    for _ in range(3):
        a, b = tg.zeros(4), tg.ones(4)
        assert g(a, b).item() == 4.0 and a.tolist() == [1.0] * 4
    found, expected = tg.arange(6).float(), tg.arange(6).float()
    assert g(found[1:5], found[:4]).item() == f(expected[1:5], expected[:4]).item()
    assert found.tolist() == expected.tolist()


PAIR = (tg.ones(2),)


def test_a_tuple_of_tensors_that_is_replaced(monkeypatch):
    f = tg.capture(lambda x: x + PAIR[0])
    assert f(tg.ones(2)).tolist() == [2, 2]
    monkeypatch.setitem(globals(), "PAIR", (tg.ones(2) * 3,))
    assert [f(tg.ones(2)).tolist() for _ in range(2)] == [[4, 4]] * 2


def test_a_division_by_zero_nobody_reads():
    def f(a, z):
        a // z
        return a + 1

    run = tg.capture(f)
    a = tg.tensor([4, 6])
    assert run(a, tg.tensor([1, 2])).tolist() == [5, 7]
    with pytest.raises(ZeroDivisionError):
        run(a, tg.tensor([1, 0]))


def test_a_returned_view_of_another_dtype():
    class Holder(tg.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("buf", tg.arange(4).float())

        def forward(self, x):
            return self.buf[1:3], x + 1

    holder = Holder()
    run = tg.capture(holder)
    assert run(tg.ones(1))[0].tolist() == [1, 2]
    holder.buf.data = tg.arange(4).int()
    for _ in range(2):
        found = run(tg.ones(1))[0]
        assert found.dtype == tg.int32 and found.tolist() == [1, 2]


def test_a_function_without_kernels():
    f = tg.capture(lambda x, n: (x, n))
    for k in range(3):
        x = tg.full((2,), float(k))
        y, n = f(x, 5)
        assert y is x and n == 5
