"""save and load: what comes back, what is refused, and that the formats are those of others."""

import io
import json
from collections import OrderedDict

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import serialization
from tilegrad.errors import DataError, DeviceError, DTypeError
from tilegrad.errors import FileNotFoundError as TgFileNotFoundError
from tilegrad.testing import assert_close

DTYPES = "bool uint8 int8 int16 int32 int64 uint16 uint32 uint64 float16 bfloat16 float32 float64"


def through(obj):
    file = io.BytesIO()
    tg.save(obj, file)
    file.seek(0)
    return tg.load(file)


def test_containers_come_back():
    obj = {
        "net": OrderedDict(w=tg.ones(2, 3), b=tg.zeros(0)),
        "list": [1, 2.5, "text", None, True, (tg.tensor(7), [])],
        3: {"state": {0: {"step": 4.0}}, "tuple": (), "inf": [float("inf"), -0.0]},
    }
    got = through(obj)
    assert repr(got) == repr({**obj, "net": dict(obj["net"])})
    assert type(got["list"][5]) is tuple and got["list"][4] is True and type(got["net"]) is dict


@pytest.mark.parametrize("dtype", DTYPES.split())
def test_elements_come_back_in_any_memory_order(dtype):
    a = tg.tensor(np.arange(24).reshape(2, 3, 4) % 2, dtype=dtype)
    for x in (a, a.permute(2, 0, 1), a[:, ::2], a[1, 1, 1], a[:0]):
        got = through([x, tg.tensor(3, dtype=tg.int8), x])
        assert got[0].dtype == x.dtype
        assert_close(got[0], x.contiguous(), rtol=0, atol=0, what=dtype)
        assert_close(got[2], x.contiguous(), rtol=0, atol=0, what=dtype)


def test_what_comes_back_can_be_changed_and_trained():
    p = tg.nn.Parameter(tg.ones(3))
    got = through(p)
    assert type(got) is tg.Tensor and not got.requires_grad
    got.add_(1.0)
    assert p.tolist() == [1.0, 1.0, 1.0] and got.tolist() == [2.0, 2.0, 2.0]


def test_names_that_collide_stay_apart():
    got = through({"a.b": tg.zeros(1), "a": {"b": tg.ones(1)}, "a.b'": tg.ones(1) * 2})
    assert [got["a.b"].item(), got["a"]["b"].item(), got["a.b'"].item()] == [0.0, 1.0, 2.0]


def test_the_name_of_the_metadata_is_no_tensor():
    got = through({"__metadata__": tg.ones(2)})
    assert list(got) == ["__metadata__"] and got["__metadata__"].tolist() == [1, 1]
    with pytest.raises(tg.errors.ValueError, match="no tensor named '__metadata__'"):
        tg.serialization.pack({"__metadata__": tg.ones(2)})


def test_training_goes_on_as_if_never_saved(tmp_path):
    def parts():
        tg.manual_seed(0)
        net = tg.nn.Sequential(tg.nn.Linear(3, 4), tg.nn.BatchNorm1d(4), tg.nn.Linear(4, 1))
        optimizer = tg.optim.Adam(net.parameters(), lr=0.1)
        return net, optimizer, tg.optim.lr_scheduler.StepLR(optimizer, 2)

    def train(net, optimizer, scheduler, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            (net(x) ** 2).mean().backward()
            optimizer.step(), scheduler.step()
        return [p.tolist() for p in net.parameters()]

    x = tg.randn(8, 3)
    one = parts()
    train(*one, 3)
    path = tmp_path / "checkpoint.pt"
    tg.save([part.state_dict() for part in one], path)
    whole = train(*one, 3)
    other = parts()
    for part, state in zip(other, tg.load(str(path), map_location="cpu"), strict=True):
        part.load_state_dict(state)
    assert train(*other, 3) == whole


def test_the_format_is_that_of_safetensors(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    state = tg.nn.Linear(3, 2).state_dict()
    state["steps"] = tg.tensor([1, 2], dtype=tg.int64)
    tg.save(state, tmp_path / "ours")
    theirs = library.load_file(tmp_path / "ours")
    assert set(theirs) == {"weight", "bias", "steps"}
    for name, t in state.items():
        np.testing.assert_array_equal(theirs[name], t.numpy())
    arrays = {"b": np.arange(3, dtype=np.uint8), "a": np.ones((2, 2)), "c": np.zeros((0, 4), "f4")}
    library.save_file(arrays, tmp_path / "theirs", metadata={"made": "elsewhere"})
    got = tg.load(tmp_path / "theirs")
    assert set(got) == set(arrays)
    for name, a in arrays.items():
        np.testing.assert_array_equal(got[name].numpy(), a)


# --- files of NumPy -------------------------------------------------------------------------------
NUMPY = [*DTYPES.replace("bfloat16 ", "").split(), "complex64", "complex128"]


@pytest.mark.parametrize("dtype", NUMPY)
def test_files_of_numpy_in_both_directions(dtype, tmp_path):
    a = (np.arange(24).reshape(2, 3, 4) % 2).astype(dtype)
    cases = {"whole": a, "turned": a.T, "cut": a[:, ::2], "one": a[1, 1, 1, ...], "none": a[:0]}
    tg.save({k: tg.from_numpy(x) for k, x in cases.items()}, tmp_path / "ours.npz")
    with np.load(tmp_path / "ours.npz", allow_pickle=False) as theirs:
        for k, x in cases.items():
            assert theirs[k].dtype == x.dtype
            np.testing.assert_array_equal(theirs[k], x)
    np.savez(tmp_path / "plain.npz", **cases)
    np.savez_compressed(tmp_path / "packed.npz", **cases)
    np.savez(
        tmp_path / "swapped.npz", **{k: x.astype(x.dtype.newbyteorder()) for k, x in cases.items()}
    )
    for name in ("ours", "plain", "packed", "swapped"):
        got = tg.load(tmp_path / f"{name}.npz")
        assert list(got) == list(cases)
        for k, x in cases.items():
            assert got[k].dtype == x.dtype and got[k].shape == x.shape
            np.testing.assert_array_equal(got[k].numpy(), x)
    for x in cases.values():
        np.save(tmp_path / "theirs.npy", x)
        tg.save(tg.from_numpy(x), tmp_path / "ours.npy")
        np.testing.assert_array_equal(np.load(tmp_path / "ours.npy"), x)
        for name in ("ours", "theirs"):
            got = tg.load(tmp_path / f"{name}.npy")
            assert got.dtype == x.dtype
            np.testing.assert_array_equal(got.numpy(), x)
            got.add_(got) if got.dtype != np.bool_ else got.logical_not_()  # memory of its own


def test_files_of_numpy_hold_numbers_by_name(tmp_path):
    file = tmp_path / "x.npz"
    tg.save(
        {"w/é": tg.ones(2), "n": 3, "file": np.zeros(1), "p": tg.nn.Parameter(tg.ones(1))}, file
    )
    first = file.read_bytes()
    got = tg.load(file)
    assert {k: v.tolist() for k, v in got.items()} == {
        "w/é": [1, 1], "n": 3, "file": [0], "p": [1]
    }  # fmt: skip
    tg.save(got, file)
    assert file.read_bytes() == first  # no time stamp
    for obj, text in (
        ({"a": {"b": tg.ones(1)}}, "'a': dict; nested containers need another suffix"),
        ({3: tg.ones(1)}, "got 3: Tensor"),
        ({"a\0": tg.ones(1)}, "tensors and numbers by name"),
        (tg.ones(1), "tensors by name, got Tensor"),
    ):
        with pytest.raises(TypeError, match=text):
            tg.save(obj, tmp_path / "y.npz")
    with pytest.raises(TypeError, match="holds one tensor, got dict"):
        tg.save({}, tmp_path / "y.npy")
    with pytest.raises(DTypeError, match="'a': files of NumPy do not hold bfloat16"):
        tg.save({"a": tg.ones(1, dtype=tg.bfloat16)}, tmp_path / "y.npz")
    assert list(tmp_path.iterdir()) == [file]


def npy(head, body=b"", version=b"\1\0"):
    head = head.encode()
    return (
        b"\x93NUMPY"
        + version
        + len(head).to_bytes(2 if version[0] == 1 else 4, "little")
        + head
        + body
    )


HEAD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (npy(HEAD, bytes(7)), "7 bytes of data; shape .2,. of float32 takes 8"),
        (npy(HEAD, bytes(9)), "9 bytes of data"),
        (npy(HEAD.replace("2,", "1000000000000,"), bytes(8)), "takes 4000000000000"),
        (npy(HEAD.replace("2,", "0, 99999999999999999999999"), b""), "is damaged"),
        (npy(HEAD.replace("2,", "9" * 5000), b""), "is damaged"),
        (npy(HEAD.replace("2,", "1," * 70), bytes(4)), "is damaged"),
        (npy(HEAD.replace("<f4", "|O"), bytes(16)), "has elements '|O'; expects numbers"),
        (npy(HEAD.replace("<f4", "<U2"), bytes(16)), "has elements '<U2'"),
        (npy(HEAD.replace("'<f4'", "[('a', '<f4')]"), bytes(8)), "has the header"),
        (npy(HEAD.replace("(2,)", "(" * 4000 + ")" * 4000), b""), "has the header"),
        (npy(HEAD.replace("(2,)", "__import__('os')"), b""), "has the header"),
        (npy(HEAD + " " * 20000, bytes(8)), "a header of 20057 bytes"),
        (npy(HEAD, bytes(8), b"\4\0"), "no header of a NumPy array"),
        (npy("\xff" * 10), "is damaged"),
    ],
)
def test_damaged_files_of_numpy(data, text):
    assert tg.load(io.BytesIO(npy(HEAD, bytes(8)))).tolist() == [0, 0]
    with pytest.raises(DataError, match=text.replace("|", "[|]")):
        tg.load(io.BytesIO(data))


def test_any_byte_but_zero_is_true():
    head = b'{"a": {"dtype": "BOOL", "shape": [2], "data_offsets": [0, 2]}}'
    one = tg.load(io.BytesIO(len(head).to_bytes(8, "little") + head + b"\0\7"))["a"]
    other = tg.load(io.BytesIO(npy(HEAD.replace("<f4", "|b1"), b"\0\7")))
    assert one.numpy().tobytes() == other.numpy().tobytes() == b"\0\1"


# --- what is refused ------------------------------------------------------------------------------
def test_containers_in_themselves_are_refused(tmp_path):
    deep = []
    deep.append(deep)
    with pytest.raises(tg.errors.ValueError, match="nested too deeply, or in itself"):
        tg.save(deep, tmp_path / "x")
    with pytest.raises(TypeError, match="opened for bytes, got str"):
        tg.load(io.StringIO("{}"))


def test_what_is_no_data_is_refused(tmp_path):
    net = tg.nn.Linear(1, 1)
    for obj, text in (
        (net, "the object is of Linear; .* state_dict"),
        ({"a": [net]}, "a.0 is of Linear"),
        ({"args": {1, 2}}, "args is of set"),
        ({(1, 2): 0}, "a key of tuple"),
    ):
        with pytest.raises(TypeError, match=text):
            tg.save(obj, tmp_path / "x")
    with pytest.raises(DTypeError, match="'z': safetensors does not hold complex128"):
        tg.save({"z": tg.from_numpy(np.zeros(1, np.complex128))}, tmp_path / "x")
    assert not list(tmp_path.iterdir())
    with pytest.raises(TgFileNotFoundError, match="load: there is no file"):
        tg.load(tmp_path / "x")
    tg.save({}, tmp_path / "x")
    with pytest.raises(DeviceError, match="cuda"):
        tg.load(tmp_path / "x", map_location="cuda")
    assert tg.load(tmp_path / "x", map_location={"cuda:0": "cpu"}) == {}


ENTRY = {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": {**ENTRY, "shape": [1] * 65}},
        {"a": {**ENTRY, "shape": [0, 2**63], "data_offsets": [0, 0]}},
        {"a": {**ENTRY, "shape": [3]}},
        {"a": {**ENTRY, "shape": [-1, -2]}},
        {"a": {**ENTRY, "data_offsets": [0, 1]}},
        {"a": {**ENTRY, "data_offsets": [1, 3]}},
        {"a": {**ENTRY, "data_offsets": "02"}},
        {"a": ENTRY, "b": ENTRY},
        {"a": 1},
        {"a": {**ENTRY, "shape": [2.0]}},
        {"a": {**ENTRY, "shape": ["2"]}},
        {"a": {**ENTRY, "shape": [2, True]}},
        {"a": {**ENTRY, "shape": [0, 10**30], "data_offsets": [0, 0]}},
        {"a": {**ENTRY, "data_offsets": [float("nan"), 2]}},
        {"a": {**ENTRY, "data_offsets": [0, 2, 2]}},
        [],
        {},
        {"a": ENTRY, "__metadata__": {"tilegrad": "{"}},
        {"a": ENTRY, "__metadata__": {"tilegrad": '{"tensor": "b"}'}},
        {"a": ENTRY, "__metadata__": {"tilegrad": '{"set": [1]}'}},
        {"a": ENTRY, "__metadata__": {"tilegrad": '{"dict": [["a", 1], ["a", 2]]}'}},
        {"a": ENTRY, "__metadata__": {"tilegrad": '{"dict": [[[], 1]]}'}},
        {"a": ENTRY, "__metadata__": {"tilegrad": '{"list": ' * 20000 + "1" + "}" * 20000}},
        {"a": ENTRY, "__metadata__": {"tilegrad": 1}},
        {"a": ENTRY, "__metadata__": []},
    ],
    ids=lambda header: str(header)[:90],
)
def test_damage_is_found(header):
    refused(json.dumps(header).encode())


@pytest.mark.parametrize(
    "head",
    [
        b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}, '
        b'"a": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]}}',
        b'{"a\xff": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}',
        '{"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}'.encode("utf-16"),
        b'{"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, Infinity]}}',
        b'{"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2], "more": NaN}}',
        b"[" * 100_000,
        b'{"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, ' + b"9" * 5000 + b"]}}",
    ],
    ids=lambda head: str(head[:40]),
)
def test_damaged_headers(head):
    refused(head)


def refused(head, text="is damaged"):
    with pytest.raises(DataError, match=text):
        tg.load(io.BytesIO(len(head).to_bytes(8, "little") + head + b"xy"))


def test_other_element_types_are_named():
    header = {"a": {**ENTRY, "dtype": "F8_E4M3"}}
    refused(json.dumps(header).encode(), "'a' has elements of 'F8_E4M3', which is not supported")


def test_no_byte_may_be_missing():
    data = serialization.pack({"a": tg.ones(2), "b": tg.tensor([1])})
    assert set(tg.load(io.BytesIO(data))) == {"a", "b"}
    for n in range(len(data)):
        with pytest.raises(DataError, match="is damaged"):
            tg.load(io.BytesIO(data[:n]))
    with pytest.raises(DataError, match="is damaged"):
        tg.load(io.BytesIO(data + b"\0"))
