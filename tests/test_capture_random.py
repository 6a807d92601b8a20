"""Random programs: replays of shortened plans equal eager runs bit for bit."""

import random

import pytest

import tilegrad as tg
from tilegrad import nn
from tilegrad.nn import functional as F

SHAPE = (6, 8)


class Program:
    """A straight line of operations on tensors of one shape, drawn once and run many times."""

    def __init__(self, seed):
        r = random.Random(seed)
        tg.manual_seed(seed)
        self.learns = r.random() < 0.5
        self.weights = [tg.randn(8, 8).requires_grad_(self.learns) for _ in range(2)]
        self.norms = [nn.BatchNorm1d(8).train(r.random() < 0.7) for _ in range(2)]
        self.kept = tg.randn(*SHAPE)
        self.lines = []
        count = 2  # the arguments
        for _ in range(r.randint(4, 18)):
            pick = [r.randrange(max(0, count - 4), count) for _ in range(2)]
            if r.random() < 0.6:
                pick[0] = count - 1
            self.lines.append((r.choice(OPS), *pick, r.randrange(2)))
            count += 1
        self.results = [count - 1, *r.sample(range(2, count), r.randint(0, 2))]
        self.loss = r.randrange(count // 2, count) if self.learns else None

    def __call__(self, x, y):
        values = [x, y]
        for p in [*self.weights, *self.norms[0].parameters(), *self.norms[1].parameters()]:
            p.grad = None
        with tg.set_grad_enabled(self.learns):
            for op, a, b, i in self.lines:
                values.append(op(self, values[a], values[b], i))
            if self.loss is not None and values[self.loss].requires_grad:
                (values[self.loss] * values[self.loss]).sum().backward()
        return [values[i].detach() for i in self.results]

    def state(self):
        found = [*self.weights, self.kept]
        for m in self.norms:
            found += [*m.parameters(), *m.buffers()]
        return [t.detach().clone() for t in found], [
            None if t.grad is None else t.grad.clone() for t in found
        ]


def in_place(change):
    """Where nothing is saved for gradients; else ReLU."""

    def op(p, a, b, i):
        return F.relu(a) if p.learns else change(p, a, b)

    return op


OPS = [
    lambda p, a, b, i: F.relu(a),
    lambda p, a, b, i: F.relu(a),
    lambda p, a, b, i: a.tanh(),
    lambda p, a, b, i: F.gelu(a),
    lambda p, a, b, i: a + b,
    lambda p, a, b, i: a + b,
    lambda p, a, b, i: a * b,
    lambda p, a, b, i: F.linear(a, p.weights[i]),
    lambda p, a, b, i: F.linear(a, p.weights[i], p.norms[i].bias),
    lambda p, a, b, i: p.norms[i](a),
    lambda p, a, b, i: p.norms[i](a),
    lambda p, a, b, i: F.dropout(a, 0.3),
    lambda p, a, b, i: a.t().reshape(6, 8) if i else a.flip(0),
    lambda p, a, b, i: a.clone(),
    lambda p, a, b, i: a.detach(),
    lambda p, a, b, i: p.kept + 0.0,
    in_place(lambda p, a, b: a.add_(1.0)),
    in_place(lambda p, a, b: a.copy_(b.clone())),
    in_place(lambda p, a, b: a.relu_()),
    lambda p, a, b, i: (p.kept.add_(b.detach()), b)[1],
]


def same(a, b):
    if a is None or b is None:
        return a is b
    return a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()


@pytest.mark.parametrize("seed", range(300))
def test_random_programs(seed):
    eager, twin = Program(seed), Program(seed)
    captured = tg.capture(twin)
    for k in range(3):
        tg.manual_seed(1000 * seed + k)
        x, y = tg.randn(*SHAPE), tg.randn(*SHAPE)
        z, w = x.clone(), y.clone()
        state = tg.get_rng_state()
        expected = eager(x, y)
        tg.set_rng_state(state)
        found = captured(z, w)
        assert all(same(a, b) for a, b in zip(expected, found, strict=True)), k
        assert same(x, z) and same(y, w)
        for a, b in zip(eager.state(), twin.state(), strict=True):
            assert all(same(p, q) for p, q in zip(a, b, strict=True)), k
