"""Files of torch.save: what comes back, and that nothing but data does. The files are written here
by hand; where PyTorch is installed, by it too."""

import io
import pickle
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest
from pickle_writer import (
    ORDERED,
    call,
    dict_of,
    load,
    name,
    pickled,
    storage,
    tensor,
    torch_stream,
    torch_zip,
    tuple_of,
    value,
)

import tilegrad as tg
from tilegrad.errors import DataError

NUMBERS = np.arange(6, dtype=np.float32)


def loaded(body, storages=None, **options):
    """What both formats make of the instructions body; storages: arrays by key."""
    storages = {"0": NUMBERS} if storages is None else storages
    options.setdefault("order", b"little")
    raw = {k: a.tobytes() for k, a in storages.items()}
    got = load(torch_zip(body, raw, **options))
    packed = load(torch_zip(body, raw, method=zipfile.ZIP_DEFLATED, **options))
    assert repr(got) == repr(packed)
    if options["order"] == b"little":
        stream = load(torch_stream(body, {k: (a.size, a.tobytes()) for k, a in storages.items()}))
        assert repr(got) == repr(stream)
    return got


# --- tensors --------------------------------------------------------------------------------------
def test_shapes_strides_offsets():
    where = storage(count=6)
    for shape, stride, offset, expected in (
        ((2, 3), (3, 1), 0, NUMBERS.reshape(2, 3)),
        ((3, 2), (1, 3), 0, NUMBERS.reshape(2, 3).T),
        ((2,), (2,), 1, NUMBERS[1:5:2]),
        ((), (), 5, NUMBERS[5]),
        ((0, 4), (4, 1), 0, np.zeros((0, 4))),
        ((2, 3), (0, 1), 3, np.stack([NUMBERS[3:]] * 2)),
    ):
        got = loaded(tensor(where, shape, stride, offset))
        assert got.shape == expected.shape and got.dtype == tg.float32
        np.testing.assert_array_equal(got.numpy(), expected)


KINDS = {
    "Double": np.float64, "Float": np.float32, "Half": np.float16, "BFloat16": tg.bfloat16,
    "Long": np.int64, "Int": np.int32, "Short": np.int16, "Char": np.int8, "Byte": np.uint8,
    "Bool": np.bool_, "ComplexFloat": np.complex64, "ComplexDouble": np.complex128,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_dtypes_in_both_byte_orders(kind):
    a = np.array([0, 1, 2, 100]).astype(KINDS[kind])
    if kind.startswith("Complex"):
        a = a * (1 + 2j)
    body = tensor(storage(count=4, kind=f"{kind}Storage"), (4,), (1,))
    got = loaded(body, {"0": a})
    assert got.dtype == a.dtype
    np.testing.assert_array_equal(got.numpy(), a)
    np.testing.assert_array_equal(loaded(body, {"0": a.byteswap()}, order=b"big").numpy(), a)


def test_dtypes_without_a_class_of_storages():
    a = np.array([1, 65535], np.uint16)
    kind = name("torch.storage", "UntypedStorage")
    where = tuple_of(value("storage"), kind, value("0"), value("cpu"), value(4))
    body = tensor(where + b"Q", (2,), (1,), 0, "_rebuild_tensor_v3", [name("torch", "uint16")])
    got = load(torch_zip(body, {"0": a.tobytes()}))
    assert got.dtype == tg.uint16 and got.tolist() == [1, 65535]


def test_any_byte_but_zero_is_true():
    body = tensor(storage(count=3, kind="BoolStorage"), (3,), (1,))
    got = load(torch_zip(body, {"0": bytes([0, 1, 7])}))
    assert got.numpy().view(np.uint8).tolist() == [0, 1, 1]


def test_expanded_tensors_cannot_be_changed():
    got = loaded(tensor(storage(count=6), (2, 3), (0, 1), 3))
    with pytest.raises(ValueError, match="memory is read-only"):
        got.add_(1.0)
    assert (got + 1).tolist() == [[4, 5, 6]] * 2


def test_tensors_share_their_storage():
    where = storage(count=6)
    body = dict_of(a=tensor(where, (6,), (1,)), b=tensor(where, (2,), (1,), 4))
    got = loaded(body)
    got["b"].fill_(9.0)
    assert got["a"].tolist() == [0, 1, 2, 3, 9, 9]
    a = got["a"].requires_grad_()
    y = (a * a).sum()
    got["b"].fill_(1.0)
    with pytest.raises(tg.errors.GradientError):  # the storage has one version for both
        y.backward()


def test_conjugated_and_negated():
    a = np.array([1 + 2j, 3 - 1j], np.complex64)
    where = storage(count=2, kind="ComplexFloatStorage")
    for properties, expected in (({"conj": True}, a.conj()), ({"neg": True}, -a), ({}, a)):
        got = loaded(tensor(where, (2,), (1,), more=[value(properties)]), {"0": a})
        np.testing.assert_array_equal(got.numpy(), expected)


def test_parameters_are_tensors():
    t = tensor(storage(count=6), (6,), (1,))
    body = call(("torch._utils", "_rebuild_parameter"), t, value(True), ORDERED)
    got = loaded(body)
    assert type(got) is tg.Tensor and not got.requires_grad and got.shape == (6,)
    state = call(
        ("torch._utils", "_rebuild_parameter_with_state"), t, value(True), ORDERED, value({"a": 1})
    )
    assert loaded(state).tolist() == got.tolist()


def test_containers_and_values():
    obj = {"a": [1, -1, 255, 2**70, -(2**33), 1.5, None, True, "é"], 3: (), None: {}, (1, 2): [[]]}
    assert loaded(value(obj), {}) == obj
    ordered = ORDERED + b"(" + value("k") + value(1) + b"u" + value({"_metadata": 1}) + b"b"
    got = loaded(ordered, {})
    assert type(got) is OrderedDict and got == {"k": 1} and vars(got) == {}
    for body, expected in (
        (call(("torch", "Size"), value((2, 3))), (2, 3)),
        (call(("torch", "device"), value("cuda"), value(1)), "cuda:1"),
        (call(("torch", "device"), value("cpu")), "cpu"),
        (name("torch", "float16"), tg.float16),
        (call(("collections", "Counter"), value({3: 2})), Counter({3: 2})),
        (call(("collections", "OrderedDict"), value([["a", 1]])), OrderedDict(a=1)),
        (call(("__builtin__", "set"), value([1, 2])), {1, 2}),
        (call(("builtins", "complex"), value(1.0), value(2.0)), 1 + 2j),
        (call(("_codecs", "encode"), value("aé"), value("latin1")), b"a\xe9"),
    ):
        got = loaded(body, {})
        assert type(got) is type(expected) and got == expected


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_protocols(protocol):
    obj = {"a": [1, 2.5, "x" * 300, b"ab", (1, 2, 3, 4), {5}, None], "b": {"c": -(2**40)}}
    body = pickle.dumps(obj, protocol)[2:-1]  # torch_zip writes the first and last instruction
    assert load(torch_zip(body)) == obj


def test_files_of_early_versions():
    """Python 2 wrote byte strings and OrderedDicts of lists, PyTorch 0.1 another constructor."""

    def old(text):
        return b"U" + bytes([len(text)]) + text.encode()

    where = tuple_of(
        old("storage"), name("torch", "FloatStorage"), old("0"), old("cpu"), value(6), b"N"
    )
    parts = [value(x) for x in (1, (2,), (3,))]
    t = call(("torch._utils", "_rebuild_tensor"), where + b"Q", *parts)
    pairs = b"](](" + old("w") + t + b"e" + b"e"
    got = loaded(call(("collections", "OrderedDict"), pairs))
    assert type(got) is OrderedDict and got["w"].tolist() == [1, 4]


# --- what is no data ------------------------------------------------------------------------------
class Shell:
    def __reduce__(self):
        import os

        return os.system, ("touch executed",)


def setting_state():
    """A state given to a builtin class: pickle would call its __setstate__."""
    return name("collections", "Counter") + value({"a": 1}) + b"b"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (pickle.dumps(Shell(), 2)[2:-1], "names posix.system: only tensors, numbers"),
        (call(("os", "system"), value("touch executed")), "names os.system"),
        (call(("builtins", "eval"), value("1")), "names builtins.eval"),
        (call(("torch", "load"), value("x")), "names torch.load"),
        (call(("torch._utils", "_rebuild_sparse_tensor")), "names torch._utils._rebuild_sparse"),
        (b"\x8c\x02os\x8c\x06system\x93" + tuple_of(value("x")) + b"R", "names os.system"),
        (b"(" + b"ios\nsystem\n", "instruction b'i'"),
        (b"}\x81", "instruction b'\\\\x81'"),
        (b"\x82\x01", "instruction b'\\\\x82'"),
        (value([1]) + tuple_of() + b"R", "a list as another kind"),
        (setting_state(), "uses a Maker as another kind"),
        (name("torch", "FloatStorage"), "holds torch.FloatStorage itself"),
        (value([]) + storage(count=6) + b"a", "holds a storage itself"),
        (call(("_codecs", "encode"), value("x"), value("rot13")), "encodes no text as latin1"),
        (tuple_of(value("module"), value("a")) + b"Q", r"refers to \('module', 'a'\)"),
        (b"}" + value([1]) + value(1) + b"s", "a key of list"),
        (b"}" + tuple_of(value((1,))) + value(1) + b"s", "a key of tuple"),
    ],
)  # fmt: skip
def test_nothing_is_executed(body, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for data in (
        torch_zip(body, {"0": NUMBERS.tobytes()}),
        torch_stream(body, {"0": (6, NUMBERS.tobytes())}),
    ):
        with pytest.raises(DataError, match=text):
            load(data)
    assert not list(tmp_path.iterdir())


def test_a_bare_pickle_and_a_program_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="is a pickle, which could execute anything"):
        load(pickle.dumps(Shell()))
    with pytest.raises(DataError, match="is a TorchScript program"):
        load(torch_zip(value(1), more=[("constants.pkl", pickled(value(())))]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (tensor(storage(count=6), (7,), (1,)), "outside its storage of 6 elements"),
        (tensor(storage(count=6), (2, 3), (4, 1)), "outside its storage"),
        (tensor(storage(count=6), (1,), (1,), 6), "outside its storage"),
        (tensor(storage(count=6), (2,), (-1,), 5), r"shape or stride \(-1\)"),
        (tensor(storage(count=6), (2,), (1,), -1), "offset -1"),
        (tensor(storage(count=6), (2, 1), (1,)), "stride"),
        (tensor(storage(count=6), (1,) * 65, (1,) * 65), "shape"),
        (tensor(storage(count=6), (2**61, 2**61), (0, 0)), "damaged"),
        (tensor(storage(count=6), (0, 2**61), (1, 1)), "damaged"),
        (tensor(storage(count=7), (6,), (1,)), "'0' of 28 bytes has 24|truncated"),
        (tensor(storage(count=2**61), (6,), (1,)), "'0' of|truncated"),
        (tensor(storage("1", 6), (6,), (1,)), "'1' of 24 bytes has 0|not those of the tensors"),
        (tensor(storage(count=6), (6,), (1,), more=[value({"own": 1})]), "properties \\('own'\\)"),
        (tensor(storage(count=3, kind="DoubleStorage"), (6,), (1,)), "outside its storage"),
        (
            dict_of(
                a=tensor(storage(count=6), (6,), (1,)),
                b=tensor(storage(count=3, kind="DoubleStorage"), (3,), (1,)),
            ),
            "described in two ways",
        ),
    ],
)
def test_tensors_that_do_not_fit(body, text):
    count = (
        7 if b"K\x07tQ" in body else 2**61 if (2**61).to_bytes(8, "little") + b"tQ" in body else 6
    )
    for data in (
        torch_zip(body, {"0": NUMBERS.tobytes()}),
        torch_stream(body, {"0": (3 if b"Double" in body else count, NUMBERS.tobytes())}),
    ):
        with pytest.raises(DataError, match=f"{text}|has another length"):
            load(data)


def test_streams_that_do_not_fit():
    body, good = tensor(storage(count=6), (6,), (1,)), {"0": (6, NUMBERS.tobytes())}
    assert load(torch_stream(body, good)).shape == (6,)
    for data, text in (
        (torch_stream(body, good, version=1000), "version 1000, expected 1001"),
        (torch_stream(body, good, keys=["1"]), "not those of the tensors"),
        (torch_stream(body, good, keys=[("0",)]), "not those of the tensors"),
        (torch_stream(body, {"0": (5, NUMBERS.tobytes())}), "another length"),
        (torch_stream(body, good) + b"x", "1 bytes follow"),
    ):
        with pytest.raises(DataError, match=text):
            load(data)


def test_nothing_may_follow_the_pickle():
    with pytest.raises(DataError, match="bytes follow the pickle"):
        load(torch_zip(value(1) + b"." + value(2)))


def test_archives_of_unknown_order():
    with pytest.raises(DataError, match="its byte order is b'middle'"):
        load(torch_zip(tensor(storage(count=6), (6,), (1,)), order=b"middle"))


# --- beside PyTorch -------------------------------------------------------------------------------
def same(got, expected, torch):
    if isinstance(expected, torch.Tensor):
        assert str(got.dtype) == str(expected.dtype).removeprefix("torch.")
        assert tuple(got.shape) == tuple(expected.shape)
        if got.numel():
            assert got._array.strides == tuple(s * got._array.itemsize for s in expected.stride())
        wide = torch.float64 if expected.dtype == torch.bfloat16 else expected.dtype
        numbers = expected.detach().resolve_conj().resolve_neg().to(wide).numpy()
        np.testing.assert_array_equal(got.numpy().astype(numbers.dtype), numbers)
    elif isinstance(expected, dict):
        assert type(got) is type(expected) and list(got) == list(expected)
        for k in expected:
            same(got[k], expected[k], torch)
    elif isinstance(expected, (list, tuple)):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            same(one, other, torch)
    elif isinstance(expected, (torch.device, torch.dtype)):
        assert str(got) == str(expected).removeprefix("torch.")
    else:
        assert type(got) is type(expected) and got == expected


@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_pytorch(zipped):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 3])
    net(torch.randn(2, 2, 5, 5)).sum().backward()
    optimizer.step(), schedule.step()
    base = torch.arange(24.0).reshape(2, 3, 4)
    dtypes = "float64 float16 bfloat16 int64 int32 int16 int8 uint8 uint16 bool complex64"
    state = {
        "net": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "views": [base, base.permute(2, 0, 1), base[:, ::2], base[1, 1, 1], base[:0]],
        "expanded": torch.ones(1).expand(3, 2),
        "conj": torch.tensor([1 + 2j]).conj(),
        "dtypes": [torch.ones(3).to(getattr(torch, d)) for d in dtypes.split()],
        "plain": [1, -1, 2**40, 2**70, 1.5, None, True, "x", b"ab", (1,), (), {"a": 1}, {1, 2}, 1j],
        "torch": [torch.Size([1, 2]), torch.device("cuda:0"), torch.float16],
    }
    for protocol in (2, 4):
        file = io.BytesIO()
        torch.save(state, file, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
        same(load(file.getvalue()), state, torch)
    file = io.BytesIO()
    torch.save(net, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=r"(names torch.nn.modules|refers to \('module')"):
        load(file.getvalue())


def test_weights_of_pytorch_compute_the_same():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)

    def network(nn):
        layers = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)
        return nn.Sequential(*layers).eval()

    theirs, ours = network(torch.nn), network(tg.nn)
    file = io.BytesIO()
    torch.save(theirs.state_dict(), file)
    ours.load_state_dict(load(file.getvalue()))
    x = np.random.default_rng(0).standard_normal((2, 2, 5, 5)).astype(np.float32)
    y = ours(tg.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(y, theirs(torch.from_numpy(x)).detach().numpy(), 1e-5, 1e-6)
