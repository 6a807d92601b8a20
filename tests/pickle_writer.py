"""Pickles and PyTorch files written instruction by instruction, honest ones and others."""

import io
import struct
import zipfile

import tilegrad as tg

OPEN, STOP = b"(", b"."


def value(x):
    """The instructions that push a plain value."""
    if x is None or isinstance(x, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[x]
    if isinstance(x, int):
        raw = x.to_bytes(x.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(raw)]) + raw if not 0 <= x < 256 else b"K" + bytes([x])
    if isinstance(x, float):
        return b"G" + struct.pack(">d", x)
    if isinstance(x, str):
        raw = x.encode()
        return b"X" + struct.pack("<I", len(raw)) + raw
    if isinstance(x, tuple):
        return tuple_of(*map(value, x))
    if isinstance(x, list):
        return b"](" + b"".join(map(value, x)) + b"e"
    return b"}(" + b"".join(value(k) + value(v) for k, v in x.items()) + b"u"


def tuple_of(*parts):
    return OPEN + b"".join(parts) + b"t"


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def call(function, *args):
    return name(*function) + tuple_of(*args) + b"R"


def dict_of(**parts):
    return b"}(" + b"".join(value(k) + v for k, v in parts.items()) + b"u"


ORDERED = call(("collections", "OrderedDict"))


def storage(key="0", count=1, kind="FloatStorage", view=()):
    parts = [value("storage"), name("torch", kind), value(key), value("cpu"), value(count)]
    return tuple_of(*parts, *view) + b"Q"


def tensor(where, shape, stride, offset=0, rebuild="_rebuild_tensor_v2", more=()):
    parts = [value(x) for x in (offset, shape, stride, False)]
    return call(("torch._utils", rebuild), where, *parts, ORDERED, *more)


def pickled(body):
    return b"\x80\x02" + body + STOP


def torch_zip(body, storages=(), order=b"little", method=zipfile.ZIP_STORED, more=()):
    """A file of torch.save around the instructions body; storages: bytes by key."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as z:
        for key, raw in [
            ("data.pkl", pickled(body)),
            ("byteorder", order),
            *((f"data/{k}", raw) for k, raw in dict(storages).items()),
            ("version", b"3\n"),
            *more,
        ]:
            z.writestr(zipfile.ZipInfo(f"file/{key}"), raw, method)
    return file.getvalue()


def torch_stream(body, storages, version=1001, keys=None):
    """The same as PyTorch before 1.6 wrote it; storages: (count, bytes) by key."""
    head = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    system = {"protocol_version": 1001, "little_endian": True}
    pickles = [value(version), value(system), body, value(list(storages if keys is None else keys))]
    tail = b"".join(struct.pack("<q", n) + raw for n, raw in storages.values())
    return head + b"".join(map(pickled, pickles)) + tail


def load(data):
    """What tilegrad makes of a file of these bytes."""
    return tg.load(io.BytesIO(data))
