"""Rows of the matrix products: sizes around the register tiles, layouts, batches, empty ones."""

from typing import Any

from . import Arg, Case


def _row(reason: str, op: str, *args: Arg, k: int = 1, **options: Any) -> Case:
    return Case(reason, op, args, exact=True, reduction=k, **options)


def _large(reason: str, op: str, m: int, n: int, k: int, turned: bool = False) -> Case:
    b = Arg((n, k) if turned else (k, n))
    return Case(
        reason, op, (Arg((m, k)), b), exact=True, reduction=k, bench=True, second=False,
        differentiable=False, flops=2.0 * m * n * k, bytes=4.0 * (m * k + k * n + m * n),
    )  # fmt: skip


CASES = [
    _row("one_tile", "matmul", Arg((14, 8)), Arg((8, 32)), k=8),
    _row("tile_tails", "matmul", Arg((15, 9)), Arg((9, 37)), k=9),
    _row("two_blocks_of_terms", "matmul", Arg((3, 300)), Arg((300, 5)), k=300),
    _row("transposed_left", "matmul", Arg((9, 6), layout="transposed"), Arg((6, 7)), k=6),
    _row("transposed_right", "matmul", Arg((9, 6)), Arg((6, 7), layout="transposed"), k=6),
    _row("strided", "matmul", Arg((5, 6), layout="strided"), Arg((6, 7), layout="reversed"), k=6),
    _row("broadcast_operand", "matmul", Arg((5, 6), layout="broadcast"), Arg((6, 7)), k=6),
    _row("vector_vector", "matmul", Arg((19,)), Arg((19,)), k=19),
    _row("vector_matrix", "matmul", Arg((19,)), Arg((19, 5)), k=19),
    _row("matrix_vector", "matmul", Arg((5, 19)), Arg((19,), layout="strided"), k=19),
    _row("batch_vector", "matmul", Arg((2, 5, 6)), Arg((6,)), k=6),
    _row("batch", "matmul", Arg((4, 3, 5)), Arg((4, 5, 2)), k=5),
    _row("batch_broadcast", "matmul", Arg((2, 1, 3, 5)), Arg((4, 5, 2)), k=5),
    _row("batch_times_matrix", "matmul", Arg((2, 3, 4, 5)), Arg((5, 6)), k=5),
    _row("matrix_times_batch", "matmul", Arg((4, 5)), Arg((3, 5, 6)), k=5),
    _row("empty_rows", "matmul", Arg((0, 5)), Arg((5, 3)), k=5),
    _row("empty_batch", "matmul", Arg((0, 2, 5)), Arg((5, 3)), k=5),
    _row("nothing_to_sum", "matmul", Arg((2, 0)), Arg((0, 3))),
    _row("matrices", "mm", Arg((4, 6)), Arg((6, 3)), k=6),
    _row("batches", "bmm", Arg((3, 4, 6)), Arg((3, 6, 2)), k=6),
    _row("matrix_vector", "mv", Arg((4, 6)), Arg((6,)), k=6),
    _row("vectors", "dot", Arg((23,)), Arg((23,)), k=23),
    _row("vectors", "outer", Arg((4,)), Arg((6,))),
    _row("bias", "linear", Arg((4, 6)), Arg((3, 6)), Arg((3,)), k=6),
    _row("no_bias", "linear", Arg((4, 6)), Arg((3, 6)), k=6),
    _row("one_sample", "linear", Arg((6,)), Arg((3, 6)), Arg((3,)), k=6),
    _row("more_axes", "linear", Arg((2, 3, 6)), Arg((4, 6)), Arg((4,)), k=6),
    _row("one_output", "linear", Arg((5, 6)), Arg((6,)), k=6),
    _row("non_contiguous", "linear", Arg((5, 6), layout="transposed"),
         Arg((3, 6), layout="strided"), Arg((3,), layout="reversed"), k=6),
    _row("empty_batch", "linear", Arg((0, 6)), Arg((3, 6)), Arg((3,)), k=6),
    _row("integers", "matmul", Arg((4, 5), -3, 4, kind="index"),
         Arg((5, 6), -3, 4, kind="index"), differentiable=False, half=False),
    *(_large(f"square_{n}", "matmul", n, n, n) for n in (64, 128, 256, 512, 1024, 2048)),
    _large("hidden_layer", "linear", 64, 256, 784, turned=True),
    _large("classifier", "linear", 128, 10, 84, turned=True),
    _large("large_matrix_vector", "matmul", 1024, 1, 1024),
    _large("large_vector_matrix", "matmul", 1, 1024, 1024),
]  # fmt: skip
