"""Damaged and hostile files: load returns or raises DataError, in bounded memory."""

import io
import json
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from pickle_writer import (
    ORDERED,
    call,
    dict_of,
    load,
    name,
    storage,
    tensor,
    torch_stream,
    torch_zip,
    tuple_of,
    value,
)

import tilegrad as tg
from tilegrad import serialization
from tilegrad.errors import DataError, StateError
from tilegrad.errors import FileNotFoundError as TgFileNotFoundError
from tilegrad.serialization import archive, pickles

# --- small honest files ---------------------------------------------------------------------------
STATE = {"net": {"w": tg.ones(2, 3), "n": tg.tensor([1, 2])}, "list": [1, 2.5, None, ("a", True)]}
ARRAYS = {"w": np.ones((2, 3), np.float32), "b": np.arange(3)}
BODY = dict_of(
    w=tensor(storage(count=6), (2, 3), (3, 1)),
    t=tensor(storage(count=6), (3, 2), (1, 3)),
    p=call(
        ("torch._utils", "_rebuild_parameter"),
        tensor(storage("1", 3, "BoolStorage"), (2,), (1,), 1),
        value(True),
        ORDERED,
    ),
    c=tensor(storage("2", 2, "ComplexFloatStorage"), (2,), (1,), more=[value({"conj": True})]),
    o=ORDERED + b"(" + value("k") + value([1, 2.5, -1, (None, True)]) + b"u",
    d=call(("torch", "device"), value("cuda"), value(0)),
    s=call(("torch", "Size"), value((2, 3))),
    e=call(("_codecs", "encode"), value("ab"), value("latin1")),
    m=call(("collections", "Counter"), value({3: 2})) + b"q\x01",
)
RAW = {"0": bytes(24), "1": b"\1\0\1", "2": bytes(16)}
COUNTS = {"0": 6, "1": 3, "2": 2}


def saved(obj, suffix=""):
    file = io.BytesIO()
    file.write(serialization.arrays.pack_numpy(obj, suffix)) if suffix else tg.save(obj, file)
    return file.getvalue()


def rezipped(inner, method=zipfile.ZIP_STORED):
    """An npz file around the bytes of an array, with a sum that is right."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as z:
        z.writestr(zipfile.ZipInfo("w.npy"), inner, method)
    return file.getvalue()


def packed_npz():
    file = io.BytesIO()
    np.savez_compressed(file, **ARRAYS)
    return file.getvalue()


def structured(text):
    return serialization.pack({"w": tg.ones(2)}, {"tilegrad": text.decode("latin1")})


def as_it_is(data):
    return data


STRUCTURE = json.dumps({"dict": [["a", {"tensor": "w"}], ["b", {"list": [1, 2.5, None]}]]}).encode()
SAMPLES = {
    "safetensors": (as_it_is, saved(STATE)),
    "structure": (structured, STRUCTURE),
    "npy": (as_it_is, saved(tg.ones(2, 3), ".npy")),
    "npz": (as_it_is, saved(ARRAYS, ".npz")),
    "npz_deflated": (as_it_is, packed_npz()),
    "npz_inside": (rezipped, saved(tg.ones(2, 3), ".npy")),
    "torch": (as_it_is, torch_zip(BODY, RAW)),
    "torch_deflated": (as_it_is, torch_zip(BODY, RAW, method=zipfile.ZIP_DEFLATED)),
    "torch_inside": (lambda body: torch_zip(body, RAW), BODY),
    "stream": (as_it_is, torch_stream(BODY, {k: (COUNTS[k], RAW[k]) for k in RAW})),
}
"""How a file is made of bytes, and bytes that make an honest one."""


@pytest.mark.parametrize("sample", SAMPLES)
def test_truncated_anywhere(sample):
    make, inner = SAMPLES[sample]
    load(make(inner))
    for n in range(len(inner)):
        if sample == "torch_inside" and inner[:n] == b"}":
            continue  # an empty dict: torch_zip ends what it is given
        with pytest.raises(DataError, match="the file"):
            load(make(inner[:n]))


WORDS = [0, 1, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1]


def mutated(inner, rng):
    """inner with one to four random changes."""
    out = bytearray(inner)
    for _ in range(rng.integers(1, 5)):
        at, kind = int(rng.integers(len(out) + 1)), rng.integers(7)
        span = int(rng.integers(1, 20))
        if kind == 0:
            out[at : at + 1] = bytes([rng.integers(256)])
        elif kind == 1 and at < len(out):
            out[at] ^= 1 << rng.integers(8)
        elif kind == 2:
            del out[at : at + span]
        elif kind == 3:
            out[at:at] = rng.bytes(span)
        elif kind == 4:
            other = int(rng.integers(len(out) + 1))
            out[at:at] = out[other : other + span]
        elif kind == 5:
            width = int(rng.choice([1, 2, 4, 8]))
            word = WORDS[rng.integers(len(WORDS))] % 256**width
            out[at : at + width] = word.to_bytes(width, "little")
        else:
            out[at : at + 1] = b"0123456789[]{}(),.:\"'-e"[rng.integers(22) :][:1]
    return bytes(out)


def tensors_of(x):
    """The tensors within what was loaded, each once."""
    queue, seen = [x], set()
    while queue:
        x = queue.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        if isinstance(x, tg.Tensor):
            yield x
        elif isinstance(x, dict):
            queue += x.values()
        elif isinstance(x, (list, tuple, set)):
            queue += x


def attack(sample, count, seed):
    """Loads count mutations; returns how many of them loaded, and the largest amount of memory."""
    make, inner = SAMPLES[sample]
    rng, good, most = np.random.default_rng(seed), 0, 0
    for i in range(count):
        data = make(mutated(inner, rng))
        watched = i % 20 == 0
        if watched:
            tracemalloc.start()
        try:
            got = load(data)
        except DataError as e:
            assert len(str(e)) < 1000
        except Exception as e:
            raise AssertionError(f"{sample}, seed {seed}, mutation {i}: {data!r}") from e
        else:
            good += 1
            for t in tensors_of(got):
                if t.nbytes < 1 << 16:
                    t.numpy(force=True).tobytes()
            del got
        if watched:
            most = max(most, tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    return good, most


@pytest.mark.parametrize("sample", SAMPLES)
def test_mutated(sample):
    good, most = attack(sample, 10_000, 0)
    assert good < 9_000, "most mutations are damage"
    assert most < 1 << 20


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
@pytest.mark.parametrize("sample", SAMPLES)
def test_mutated_more(sample, seed):
    assert attack(sample, 10_000, seed)[1] < 1 << 20


# --- checkpoints ----------------------------------------------------------------------------------
def attacked_checkpoint(folder, count, seed):
    """Loads a checkpoint with mutations of its JSON file; returns how many of them loaded."""
    model = tg.nn.Linear(2, 1)
    optimizer = tg.optim.Adam(model.parameters())
    scheduler = tg.optim.lr_scheduler.StepLR(optimizer, 2)
    model(tg.ones(3, 2)).sum().backward()
    optimizer.step(), scheduler.step()
    path = tg.train.save_checkpoint(folder, model, optimizer, scheduler, info={"a": [1, None]})
    text = json.dumps(json.loads(path.read_bytes())).encode()
    rng, good = np.random.default_rng(seed), 0
    for i in range(count):
        data = mutated(text, rng)
        path.write_bytes(data)
        try:
            tg.train.load_checkpoint(folder, model, optimizer, scheduler)
        except (DataError, StateError):
            continue
        except TgFileNotFoundError as e:
            assert ".safetensors" in str(e)  # its name was changed
            continue
        except Exception as e:
            raise AssertionError(f"seed {seed}, mutation {i}: {data!r}") from e
        good += 1
        # As it was before: what loaded may have set the rate to anything.
        path.write_bytes(text)
        tg.train.load_checkpoint(folder, model, optimizer, scheduler)
    return good


def test_mutated_checkpoints(tmp_path):
    assert 0 < attacked_checkpoint(tmp_path, 2000, 0) < 1500
    for text in (b"[" * 50_000, b"\xff", b'{"format": 1, "format": 1}'):
        (tmp_path / "checkpoint.json").write_bytes(text)
        with pytest.raises(DataError, match="is damaged"):
            tg.train.load_checkpoint(tmp_path, tg.nn.Linear(2, 1))


@pytest.mark.slow
def test_mutated_checkpoints_more(tmp_path):
    assert attacked_checkpoint(tmp_path, 30_000, 1)


# --- bombs ----------------------------------------------------------------------------------------
MIB = 1 << 20


@pytest.fixture
def strict(monkeypatch):
    """Smaller limits, so that the bombs can be small."""
    assert (archive.FREE, archive.GROWTH) == (256 * MIB, 64)  # as docs/saving.md says
    assert (pickles.FREE, pickles.GROWTH) == (64 * MIB, 16)
    monkeypatch.setattr(archive, "FREE", 8 * MIB)
    monkeypatch.setattr(pickles, "FREE", MIB)


def peak_of_refused(data, text):
    """The largest amount of memory while load refuses data."""
    tracemalloc.start()
    with pytest.raises(DataError, match=text):
        load(data)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def repeated(kept, module, attribute, more=b""):
    """A list of 5000 calls on one object."""
    once = name(module, attribute) + b"(h\0" + more + b"tR"
    return value(kept) + b"q\0](" + once * 5000 + b"e"


GROWING = {
    "encode": repeated("x" * 2**16, "_codecs", "encode", value("latin1")),
    "device": repeated("x" * 2**16, "torch", "device", value(1)),
    "counter": repeated({i: i for i in range(2000)}, "collections", "Counter"),
    "ordered": repeated([[i, i] for i in range(2000)], "collections", "OrderedDict"),
    "set": repeated(list(range(2000)), "builtins", "set"),
    "size": repeated(tuple(range(5000)), "torch", "Size"),
    "same_pairs": repeated([[0, 0]] * 2000, "collections", "OrderedDict"),
    "same_items": repeated([0] * 20_000, "builtins", "set"),
    "tuples": b"](" + b")\x85" * 200_000 + b"e",
    "marked": b"(" * 200_000,
    "kept": b"N" + b"\x94" * 200_000,
    "small": b"](" + b"\x8f" * 200_000 + b"e",
    # A tensor without memory of its own, made real by the conjugation.
    "conj": tensor(
        storage(count=2, kind="ComplexFloatStorage"), (2**40,), (0,), more=[value({"conj": True})]
    ),
}


@pytest.mark.parametrize("way", GROWING)
def test_pickles_that_grow(way, strict):
    data = torch_zip(GROWING[way], {"0": bytes(16)})
    most = peak_of_refused(data, "the pickle builds far more than the file holds")
    assert most < 2 * (pickles.FREE + pickles.GROWTH * len(data))


def squeezed(raw):
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(raw) + stream.flush()


def zipped(entries):
    """An archive of (name, packed bytes, announced size, method, sum), whatever they say."""
    body, directory = b"", b""
    for key, packed, size, method, crc in entries:
        raw = key.encode()
        form = "<5H3L2H"
        shared = struct.pack(form, 20, 0x800, method, 0, 0, crc, len(packed), size, len(raw), 0)
        place = struct.pack("<3H2L", 0, 0, 0, 0, len(body))
        directory += b"PK\1\2\x14\0" + shared + place + raw
        body += b"PK\3\4" + shared + raw + packed
    count = len(entries)
    end = struct.pack("<4H2LH", 0, 0, count, count, len(directory), len(body), 0)
    return body + directory + b"PK\5\6" + end


def npy(count, there):
    """An array of count bytes of which there are others."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({count},), }}".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + bytes(there)


def test_archives_that_grow(strict):
    big, half = squeezed(npy(9 * MIB, 9 * MIB)), squeezed(npy(5 * MIB, 5 * MIB))
    assert len(big) < 16_000
    honest = len(npy(9 * MIB, 9 * MIB))
    whole = zipped([("a.npy", big, honest, 8, 0)])
    assert peak_of_refused(whole, "at most 8388608 are unpacked") < MIB
    many = zipped([(f"{i}.npy", half, 5 * MIB, 8, 0) for i in range(2)])
    assert peak_of_refused(many, "at most 8388608 are unpacked") < MIB
    for liar, text in (
        (zipped([("a/data.pkl", half, 100, 8, 0)]), "does not unpack to its 100 bytes"),
        (zipped([("a/data.pkl", half, 5 * MIB, 8, 0)]), "is longer than the file"),
        # What describes is compared before the rest is unpacked.
        (
            zipped([("a.npy", squeezed(npy(10, 5 * MIB)), len(npy(10, 5 * MIB)), 8, 0)]),
            "of data; shape .10,. of uint8 takes 10",
        ),
        (
            torch_zip(
                tensor(storage(count=6), (6,), (1,)),
                {"0": bytes(5 * MIB)},
                method=zipfile.ZIP_DEFLATED,
            ),
            "storage '0' of 24 bytes has 5242880",
        ),
    ):
        assert peak_of_refused(liar, text) < MIB
    fits = npy(7 * MIB, 7 * MIB)
    packed = zipped([("a.npy", squeezed(fits), len(fits), 8, zlib.crc32(fits))])
    assert load(packed)["a"].shape == (7 * MIB,)


# --- archives that contradict themselves ----------------------------------------------------------
ARRAY = saved(tg.ones(2), ".npy")


def entry(key="a.npy", raw=ARRAY, **changes):
    fields = {"size": len(raw), "method": 0, "crc": zlib.crc32(raw), **changes}
    return (key, raw, *fields.values())


def patched(data, at, form, *numbers):
    out = bytearray(data)
    struct.pack_into(form, out, at, *numbers)
    return bytes(out)


def test_archives_that_contradict_themselves():
    good = zipped([entry(), entry("b.npy")])
    assert list(load(good)) == ["a", "b"] and load(zipped([])) == {}
    first = good.index(b"PK\1\2")
    second = good.index(b"PK\1\2", first + 1)
    end = good.index(b"PK\5\6")
    for data, text in (
        (zipped([entry(), entry()]), "'a.npy' occurs twice"),
        (zipped([entry(), entry("a")]), "'a' occurs twice"),
        (zipped([entry(size=5)]), "neither stored nor deflated"),
        (zipped([entry(method=12)]), "neither stored nor deflated .method 12"),
        (zipped([entry(crc=1)]), "the check sum of 'a.npy' is wrong"),
        (zipped([entry("a/version", b"3")]), "an archive of PyTorch without its data.pkl"),
        (zipped([entry("a.txt", b"hello")]), "'a.txt' has no header of a NumPy array"),
        (patched(good, first + 8, "<H", 0x801), "neither stored nor deflated"),
        (patched(good, first + 46, "<B", 0xFF), "is damaged: 'utf-8' codec"),
        (patched(good, second + 42, "<L", 0), "the directory and the header of 'b.npy' differ"),
        (patched(good, second + 42, "<L", 2**31), "a member at byte 2147483648"),
        (patched(good, first + 20, "<2L", 200, 200), "'a.npy' and 'b.npy' overlap"),
        (patched(good, second + 20, "<2L", 9999, 9999), "'b.npy' lies outside the file"),
        (patched(good, second, "<H", 0), "the zip directory has no entry"),
        (patched(good, end + 8, "<2H", 1, 1), "directory has 1 entries in"),
        (patched(good, end + 8, "<2H", 3, 3), "directory has 3 entries in"),
        (patched(good, end + 10, "<H", 1), "lies outside"),
        (patched(good, end + 16, "<L", end), "lies outside"),
        (good + b"x", "without its end"),
    ):
        with pytest.raises(DataError, match=text):
            load(data)


def test_archives_with_64_bit_fields():
    file = io.BytesIO()  # as zipfile writes where sizes are not known before
    with zipfile.ZipFile(file, "w") as z, z.open("w.npy", "w", force_zip64=True) as member:
        member.write(ARRAY)
    assert load(file.getvalue())["w"].tolist() == [1, 1]
    # The sizes in the directory moved to the extra field, and the end of the archive to 64 bits.
    good = zipped([entry()])
    at, end = good.index(b"PK\1\2"), good.index(b"PK\5\6")
    wide = patched(patched(good[at:end], 20, "<2L", 2**32 - 1, 2**32 - 1), 30, "<H", 20)
    wide += struct.pack("<2H2Q", 1, 16, len(ARRAY), len(ARRAY))
    here = at + len(wide)
    far = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(wide), at)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, here, 1)
    last = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, *[2**16 - 1] * 2, *[2**32 - 1] * 2, 0)
    data = good[:at] + wide + far + locator + last
    assert load(data)["a"].tolist() == [1, 1]
    with pytest.raises(DataError, match="64-bit end of the zip archive is missing"):
        load(patched(data, here, "<H", 0))
    for place in (8, 24, 32, 40, 48):
        with pytest.raises(DataError, match="is damaged"):
            load(patched(data, here + place + (place == 8) * len(far), "<Q", 2**63))


# --- depth ----------------------------------------------------------------------------------------
def test_containers_nested_deeply():
    n = 50_000
    got = load(torch_zip(b"]" * n + b"a" * (n - 1)))
    for _ in range(n - 1):
        (got,) = got
    assert got == []
    tuples = load(torch_zip(b")" + b"\x85" * n))
    for _ in range(n):
        (tuples,) = tuples
    assert tuples == ()
    # As a key it would be hashed by a recursion of C that nobody counts.
    with pytest.raises(DataError, match="the pickle has a key of tuple"):
        load(torch_zip(b"}" + b")" + b"\x85" * n + b"Ns"))
    for other in (tuple(range(17)), 2**70, (1, 2**70)):
        with pytest.raises(DataError, match="the pickle has a key of"):
            load(torch_zip(b"}" + value(other) + b"Ns"))
    for text in ("[" * n, '{"list": [' * n, '{"dict": [["a", ' * n):
        with pytest.raises(DataError, match="is damaged"):
            load(structured(text.encode()))


def test_messages_stay_short():
    """What is shared is printed as often as it is named: 2**60 times here."""
    laughs = b")q\0" + b"".join(b"h%c\x86q%c" % (i, i + 1) for i in range(60))
    kind = name("torch", "FloatStorage")
    identity = value("storage"), kind, value("0"), value("cpu"), laughs
    parts = [value(0), value((1,)), value((1,)), value(False), ORDERED, laughs]
    for body in (
        laughs + b"Q",
        laughs + b"\x85Q",
        tuple_of(*identity) + b"Q",
        *(
            call(("torch._utils", rebuild), storage(count=6), *parts[:i], laughs, *parts[i + 1 :])
            for rebuild in ("_rebuild_tensor_v2", "_rebuild_tensor_v3")
            for i in (0, 1, 2, 5)
        ),
    ):
        with pytest.raises(DataError) as e:
            load(torch_zip(body, {"0": bytes(24)}))
        assert len(str(e.value)) < 300
    assert type(load(torch_zip(laughs))) is tuple


def test_large_tensors_in_other_places():
    """A tensor of 2**40 elements takes no memory until something is computed with it."""
    where = storage(count=1)
    large = tensor(where, (2**40,), (0,))
    assert load(torch_zip(large, {"0": bytes(4)})).shape == (2**40,)
    rebuild = ("torch._utils", "_rebuild_tensor_v2")
    parts = [value(x) for x in (0, (1,), (1,), False)]
    kind = name("torch", "FloatStorage")
    identity = [value("storage"), kind, value("0"), value("cpu"), value(1), value(None)]
    for body in (
        call(rebuild, where, *parts, ORDERED, b"}" + value("conj") + large + b"s"),
        *(call(rebuild, where, *parts[:i], large, *parts[i + 1 :], ORDERED) for i in range(3)),
        *(tuple_of(*identity[:i], large, *identity[i + 1 :]) + b"Q" for i in (0, 1, 2, 4, 5)),
        call(("_codecs", "encode"), value("a"), large),
        call(("collections", "Counter"), b"}" + value("a") + large + b"s"),
        *(call(("collections", n), large) for n in ("OrderedDict", "Counter")),
        call(("builtins", "set"), large),
        call(("builtins", "complex"), large, large),
        call(("torch", "Size"), large),
        call(("torch", "device"), value("cuda"), large),
        b"}" + large + b"Ns",
        b"\x8f(" + large + b"\x90",
    ):
        assert peak_of_refused(torch_zip(body, {"0": bytes(4)}), "the file") < MIB
