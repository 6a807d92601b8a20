"""Zip archives read with distrust: every length is checked against the file before it is used.

Stored and deflated members, with or without the 64-bit fields. Source: PKWARE, APPNOTE.TXT, the ZIP
file format specification.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from dataclasses import dataclass

FREE, GROWTH = 1 << 28, 64
"""Deflated members may unpack to FREE bytes or GROWTH times the file's size, what is more."""


@dataclass(frozen=True)
class Member:
    """One file of an archive; its bytes are read, and checked, when they are asked for."""

    data: bytes
    name: str
    begin: int
    packed: int
    size: int
    deflated: bool
    crc: int

    def head(self, count: int) -> bytes:
        """The first bytes, at most count."""
        if self.deflated:
            piece = memoryview(self.data)[self.begin : self.begin + self.packed]
            return zlib.decompressobj(-15).decompress(piece, max(1, min(count, self.size)))
        return self.data[self.begin : self.begin + min(count, self.size)]

    def read(self) -> bytes | memoryview:
        """All bytes. Raises ValueError unless they are as many as announced, with their sum."""
        piece = memoryview(self.data)[self.begin : self.begin + self.packed]
        out: bytes | memoryview = piece
        if self.deflated:
            stream = zlib.decompressobj(-15)
            out = stream.decompress(piece, self.size + 1)
            if len(out) != self.size or not stream.eof or stream.unused_data:
                raise ValueError(f"{self.name!r} does not unpack to its {self.size} bytes")
        # PyTorch writes the sum 0 where it was asked to compute none.
        if self.crc and zlib.crc32(out) != self.crc:
            raise ValueError(f"the check sum of {self.name!r} is wrong")
        return out


def members(data: bytes) -> dict[str, Member]:
    """The members of the archive data by name, in the order of its directory.

    Raises ValueError or struct.error unless the directory is whole and its members lie apart within
    the file, under different names.
    """
    count, size, begin, limit = _directory(data)
    out: dict[str, Member] = {}
    places, at = [], begin
    for _ in range(count):
        if at + 46 > begin + size:
            raise ValueError(f"the zip directory has {count} entries in {size} bytes")
        fields = struct.unpack_from("<4s6H3L5H2L", data, at)
        mark, _, _, flags, method, _, _, crc, packed, unpacked, *lengths = fields[:13]
        if mark != b"PK\1\2":
            raise ValueError(f"the zip directory has no entry at byte {at}")
        raw = data[at + 46 : at + 46 + lengths[0]]
        name = raw.decode("utf-8" if flags & 0x800 else "cp437")
        extra = data[at + 46 + lengths[0] : at + 46 + lengths[0] + lengths[1]]
        unpacked, packed, offset = _wide(extra, [unpacked, packed, fields[16]])
        at += 46 + sum(lengths)
        if at > begin + size:
            raise ValueError("the zip directory is longer than it says")
        if flags & 1 or method not in (0, 8) or (method == 0 and packed != unpacked):
            raise ValueError(f"{name!r} is neither stored nor deflated (method {method})")
        if name in out:
            raise ValueError(f"{name!r} occurs twice")
        start = _start(data, offset, raw)
        if start + packed > limit:
            raise ValueError(f"{name!r} lies outside the file")
        out[name] = Member(data, name, start, packed, unpacked, method == 8, crc)
        places.append((offset, start + packed, name))
    if at != begin + size:
        raise ValueError(f"the zip directory has {count} entries in {size} bytes")
    places.sort()
    for (_, end, one), (start, _, other) in itertools.pairwise(places):
        if start < end:
            raise ValueError(f"{one!r} and {other!r} overlap")
    total, allowed = sum(m.size for m in out.values() if m.deflated), max(FREE, GROWTH * len(data))
    if total > allowed:
        raise ValueError(
            f"{len(data)} bytes that unpack to {total}; at most {allowed} are unpacked"
        )
    return out


def _directory(data: bytes) -> tuple[int, int, int, int]:
    """The number of entries, size and beginning of the directory, and where members must end."""
    low, at = max(0, len(data) - 22 - 0xFFFF), len(data)
    while (at := data.rfind(b"PK\5\6", low, at)) >= 0:
        comment = data[at + 20 : at + 22]
        if len(comment) == 2 and at + 22 + int.from_bytes(comment, "little") == len(data):
            break
        at += 3
    else:
        raise ValueError("a zip archive without its end: the file is truncated")
    disk, first, here, count, size, begin = struct.unpack_from("<4H2L", data, at + 4)
    end = at
    if count == 0xFFFF or 0xFFFFFFFF in (size, begin):
        mark, place = struct.unpack_from("<4s4xQ", data, max(at - 20, 0))
        if mark == b"PK\6\7":
            if place > at - 76 or data[place : place + 4] != b"PK\6\6":
                raise ValueError("the 64-bit end of the zip archive is missing")
            disk, first, here, count, size, begin = struct.unpack_from("<2L4Q", data, place + 16)
            end = place
    if disk or first or here != count or begin + size > end:
        raise ValueError("the zip directory lies outside the file")
    return count, size, begin, begin


def _wide(extra: bytes, values: list[int]) -> list[int]:
    """The sizes and the offset of an entry, from its 64-bit field where 32 bits did not do."""
    at = 0
    while at + 4 <= len(extra) and 0xFFFFFFFF in values:
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = struct.iter_unpack("<Q", extra[at + 4 : at + 4 + length // 8 * 8])
            return [next(wide)[0] if v == 0xFFFFFFFF else v for v in values]
        at += 4 + length
    return values


def _start(data: bytes, offset: int, name: bytes) -> int:
    """Where the bytes of the member begin whose local header is at offset."""
    if offset > len(data):
        raise ValueError(f"a member at byte {offset} of {len(data)}")
    mark, lengths = data[offset : offset + 4], struct.unpack_from("<2H", data, offset + 26)
    if mark != b"PK\3\4" or data[offset + 30 : offset + 30 + lengths[0]] != name:
        raise ValueError(f"the directory and the header of {name.decode('cp437')!r} differ")
    return offset + 30 + sum(lengths)
