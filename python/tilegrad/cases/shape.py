"""Rows of the views and copies."""

from typing import Any

from . import Arg, Case

_S = (2, 3, 4)


def _row(name: str, op: str, *inputs: Arg, **params: Any) -> Case:
    return Case(name, op, inputs or (Arg(_S),), params, exact=True)


def _method(name: str, op: str, arg: Arg, *args: object) -> Case:
    return Case(name, op, (arg,), exact=True, call=lambda x: getattr(x, op)(*args))


CASES = [
    _method("view", "reshape", Arg(_S), 4, -1),
    _method("copies_when_strided", "reshape", Arg(_S, layout="transposed"), (6, 4)),
    _method("empty", "reshape", Arg((0, 3)), 3, 0),
    _row("from_axis_1", "flatten", start_dim=1),
    _row("zero_dim", "flatten", Arg(())),
    _row("split_axis", "unflatten", dim=2, sizes=(2, -1)),
    _row("all_ones", "squeeze", Arg((1, 3, 1))),
    _row("one_axis", "squeeze", Arg((1, 3, 1)), dim=0),
    _row("at_end", "unsqueeze", dim=-1),
    _method("rotate", "permute", Arg(_S), 2, 0, 1),
    _row("last_two", "transpose", dim0=-1, dim1=-2),
    _row("first_two", "swapaxes", axis0=0, axis1=1),
    _row("matrix", "t", Arg((2, 3), layout="strided")),
    _row("first_to_last", "movedim", source=0, destination=-1),
    _row("last_two", "matrix_transpose"),
    _row("new_axis", "broadcast_to", Arg((3, 1)), size=(2, 3, 4)),
    _row("transposed", "clone", Arg(_S, layout="transposed")),
    _row("channels_last", "clone", Arg((2, 3, 4, 5)), memory_format="channels_last"),
    _row("lower", "tril", diagonal=1),
    _row("upper", "triu", diagonal=-1),
    _row("middle", "narrow", dim=2, start=1, length=2),
    _row("last_axis", "select", dim=-1, index=-2),
    _row("shorter_last", "split", Arg((5, 2)), split_size_or_sections=2),
    _row("sections", "split", Arg((5, 2)), split_size_or_sections=[1, 4]),
    _row("shorter_last", "chunk", Arg((2, 5)), chunks=3, dim=1),
    _row("middle", "unbind", dim=1),
    _row("row_and_column", "broadcast_tensors", Arg((3, 1)), Arg((4,))),
    _row("overlapping", "as_strided", size=(3, 4), stride=(2, 3), storage_offset=1),
    _row("apart", "as_strided", Arg((4, 6)), size=(2, 3), stride=(12, 2)),
    _row("nothing", "as_strided", size=(0, 2), stride=(1, 1)),
    _method("rows", "sum_to_size", Arg(_S), 3, 1),
    Case("other_dtype", "to", (Arg(_S),), exact=True, differentiable=False,
         call=lambda x: x.to("float32")),
    *[
        Case(name, "getitem", (Arg(_S),), exact=True, call=lambda x, index=index: x[index])
        for name, index in (
            ("int", 1), ("negative_step", (slice(None), slice(None, None, -2))),
            ("ellipsis_and_none", (..., None, 0)), ("empty_slice", slice(2, 2)),
        )
    ],
]  # fmt: skip


def _assign(x, v):  # type: ignore[no-untyped-def]
    y = x.clone()
    y[:, 1:] = v
    return y * y


CASES += [Case("broadcast_value", "setitem", (Arg(_S), Arg((4,))), exact=True, call=_assign)]
