"""save and load: what comes back, what is refused, and that the format is that of others."""

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
        {"a": {**ENTRY, "dtype": "F1"}},
        {"a": {**ENTRY, "shape": [3]}},
        {"a": {**ENTRY, "shape": [-1, -2]}},
        {"a": {**ENTRY, "data_offsets": [0, 1]}},
        {"a": {**ENTRY, "data_offsets": [1, 3]}},
        {"a": {**ENTRY, "data_offsets": "02"}},
        {"a": ENTRY, "b": ENTRY},
        {"a": 1},
        [],
        {},
        {"a": ENTRY, "__metadata__": {"tilegrad": "{"}},
        {"a": ENTRY, "__metadata__": {"tilegrad": '{"tensor": "b"}'}},
        {"a": ENTRY, "__metadata__": {"tilegrad": '{"set": [1]}'}},
        {"a": ENTRY, "__metadata__": []},
    ],
    ids=str,
)
def test_damage_is_found(header):
    head = json.dumps(header).encode()
    with pytest.raises(DataError, match="is damaged"):
        tg.load(io.BytesIO(len(head).to_bytes(8, "little") + head + b"xy"))


def test_no_byte_may_be_missing():
    data = serialization.pack({"a": tg.ones(2), "b": tg.tensor([1])})
    assert set(tg.load(io.BytesIO(data))) == {"a", "b"}
    for n in range(len(data)):
        with pytest.raises(DataError, match="is damaged"):
            tg.load(io.BytesIO(data[:n]))
    with pytest.raises(DataError, match="is damaged"):
        tg.load(io.BytesIO(data + b"\0"))
