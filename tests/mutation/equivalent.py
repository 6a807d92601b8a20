"""Faults that provably change no gradient, each with its reason.

A fault is named by the function it is in, and its text before and after.
"""

SHORTCUT = "a shortcut: without it the same values are computed the long way"
GUARD = "stands where its value is selected away; any positive number keeps the other finite"
ZERO = "the logarithm of the number that stands in is 0 already"
ROWS = "one product over all rows, or a sum of products: the same numbers, another speed"

EQUIVALENT = {
    ("_add_fused", "g if shape == nodes[0].shape else sum_to(g, nodes[0].shape)",
     "sum_to(g, nodes[0].shape)"): SHORTCUT,
    ("_add_fused", "g if shape == nodes[1].shape else sum_to(g, nodes[1].shape)",
     "sum_to(g, nodes[1].shape)"): SHORTCUT,
    ("_mul_fused", "shape != nodes[0].shape", "True"): SHORTCUT,
    ("_mul_fused", "shape != nodes[1].shape", "True"): SHORTCUT,
    ("elementwise.vjp", "t if t._array.shape == shape else sum_to(t, shape)",
     "sum_to(t, shape)"): SHORTCUT,
    ("sum_to", "have == shape", "False"): SHORTCUT,
    ("_rows", "x if len(s) == 2 else reshape(x, math.prod(s[:-1]), s[-1])",
     "reshape(x, math.prod(s[:-1]), s[-1])"): SHORTCUT,
    ("_right", "len(shape) == 2 and a.ndim > 2", "False"): ROWS,
    ("_right", "a.ndim > 2", "a.ndim >= 2"): ROWS,
    ("_right", "a.ndim > 2", "a.ndim < 2"): ROWS,
    ("_right", "a.ndim > 2", "a.ndim > 3"): ROWS,
    ("_pow", "where(_flat(a, b), 1.0, a)", "where(_flat(a, b), 1.1, a)"): GUARD,
    ("_pow", "where(_flat(a, b), 0.0, y * unary.log(where(_flat(a, b), 1.0, a)))",
     "y * unary.log(where(_flat(a, b), 1.0, a))"): ZERO,
    ("_xlogy_first", "where(skip, 0.0, mul(t, log(where(skip, 1.0, b))))",
     "mul(t, log(where(skip, 1.0, b)))"): ZERO,
    ("_xlogy_first", "where(skip, 1.0, b)", "where(skip, 1.1, b)"): GUARD,
    ("_square_radius", "where(eq(r, 0), 1.0, r)", "where(eq(r, 0), 1.1, r)"): GUARD,
    ("_safe_log", "where(positive, x, 1.0)", "where(positive, x, 1.1)"): GUARD,
    ("_safe_log", "x > math.exp(_LOW)", "x >= math.exp(_LOW)"):
        "at e**-100 itself both sides are -100",
    ("_attention_vjp", "not need[0] and (not need[1])", "False"): SHORTCUT,
    ("_logcumsumexp_vjp", "d < n", "d <= n"): "one more round, over nothing",
    ("_logcumsumexp_vjp", "narrow(r, axis, n - d, d)", "narrow(r, axis, -d, d)"):
        "counts from the end: the same place",
    ("_logcumsumexp_vjp", "where(empty, 0.0, out)", "where(empty, 1.0, out)"): GUARD,
    ("_logcumsumexp_vjp",
     "where(narrow(empty, axis, 0, n - d), 0.0, sub(here, there))",
     "where(narrow(empty, axis, 0, n - d), 1.0, sub(here, there))"): GUARD,
    ("_logcumsumexp_vjp", "where(lost, 0.0, sub(x, y))", "where(lost, 1.0, sub(x, y))"): GUARD,
    ("hardtanh saves", "input 0", "inputs[1] if len(inputs) > 1 and i < 2 else out"):
        "the output lies between the limits exactly where the input does",
    ("clamp_between saves", "input 2", "inputs[-1] if len(inputs) > 1 and i < 2 else out"):
        "the same tensor",
    ("_fold", "False", "True"): "a copy of the same numbers",
    ("_norm_vjp", "where(y == 0, 1.0, y)", "where(y == 0, 1.1, y)"): GUARD,
    ("elu", "minimum(x, 0.0)", "minimum(x, 1.0)"): GUARD,
    ("(_LARGER, _SMALLER)", "a > b", "a >= b"): "where they are equal, 0.5 is selected instead",
    ("(_LARGER, _SMALLER)", "a < b", "a <= b"): "where they are equal, 0.5 is selected instead",
    ("_stored", "np.full(size, -1, np.int64)", "np.full(size, -2, np.int64)"):
        "fills places that nothing names; compared with numbers from 0 on",
    ("_cross_entropy_vjp", "max(x.shape[1], 1)", "max(x.shape[1], 2)"):
        "with one class softmax is 1 and the gradient q - q, whatever q; with none there is none",
    ("_product_of_others", "_prod(right, (axis,), True)", "_prod(right, (axis,), False)"):
        "axis is 0: a leading axis of length 1 comes back by broadcasting",
    ("_product_of_others", "_prod(left, (axis,), True)", "_prod(left, (axis,), False)"):
        "axis is 0: a leading axis of length 1 comes back by broadcasting",
    ("_cumprod_vjp", "narrow(g, axis, n - 1, 1)", "narrow(g, axis, -1, 1)"):
        "counts from the end: the same place",
    ("sum_to", "kernels.of(g._array).reduce(_SUM, g._array, axes, True)",
     "kernels.of(g._array).reduce(_SUM, g._array, axes, False)"): "reshaped in the next line",
    ("elementwise.vjp", "d(g, *inputs, out) if params is None else d(g, *inputs, out, *params)",
     "d(g, *inputs, out)"): "no op of several inputs has parameters",
    ("_permute_back", "[0]", "[1]"): "every element is overwritten",
    ("relu saves", "output", "inputs[0]"): "the output is positive exactly where the input is",
}  # fmt: skip


def split(every):
    """(faults to plant, faults that change nothing, entries above that are no fault any more)."""
    kept, excluded, unused = [], [], set(EQUIVALENT)
    for f in every:
        key = (f.where.partition(" ")[2], f.before, f.after)
        (excluded if key in EQUIVALENT else kept).append(f)
        unused.discard(key)
    return kept, excluded, unused
