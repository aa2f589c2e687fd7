"""Archives that are nearly right: each seed makes one, the same at every run."""

import io
import random
import struct
import warnings
import zipfile

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
# Offset and width of what a header says about sizes, places, methods and names.
FIELDS = {
    LOCAL: [(6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)],
    CENTRAL: [(8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (42, 4)],
    END: [(8, 2), (10, 2), (12, 4), (16, 4), (20, 2)],
}


def _truncated(data: bytes, chance: random.Random) -> bytes:
    return data[:chance.randrange(len(data))]


def _flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 8, 64])):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _overwritten(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    length = min(chance.choice([4, 64, 1024, len(data)]), len(data) - start)
    return data[:start] + chance.randbytes(length) + data[start + length:]


def _places(data: bytes, mark: bytes) -> list:
    found, at = [], data.find(mark)
    while at >= 0:
        found.append(at)
        at = data.find(mark, at + 1)
    return found


def _lying(data: bytes, chance: random.Random) -> bytes:
    """A header's field says something else."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 3])):
        mark = chance.choice(list(FIELDS))
        offset, width = chance.choice(FIELDS[mark])
        at = chance.choice(_places(data, mark)) + offset
        most = (1 << 8 * width) - 1
        value = chance.choice([0, 1, most, most >> 1, len(data), chance.randint(0, most)])
        packed = struct.pack("<Q", value & most)[:width]
        if at + width <= len(changed):
            changed[at:at + width] = packed
    return bytes(changed)


def _entries(data: bytes) -> list:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(one.filename, archive.read(one)) for one in archive.infolist()]


def _packed(entries: list, method=zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method, compresslevel=1) as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def _edited(content: bytes, chance: random.Random) -> bytes:
    """Some bytes replaced, inserted or left out."""
    changed = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 4])):
        at = chance.randrange(len(changed) + 1)
        kind = chance.randrange(4)
        if kind == 0:
            changed[at:at + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            changed[at:at] = chance.randbytes(chance.choice([1, 4, 16]))
        elif kind == 2:
            del changed[at:at + chance.choice([1, 4, 16])]
        else:  # Its own bytes, elsewhere: opcodes where arguments were.
            source = chance.randrange(len(changed) or 1)
            changed[at:at] = changed[source:source + 8]
    return bytes(changed)


def _with_edit(data: bytes, chance: random.Random, suffix: str) -> bytes:
    entries = _entries(data)
    fit = [i for i, (name, _) in enumerate(entries) if name.endswith(suffix)]
    at = chance.choice(fit)
    entries[at] = (entries[at][0], _edited(entries[at][1], chance))
    return _packed(entries)


def _pickle(data: bytes, chance: random.Random) -> bytes:
    return _with_edit(data, chance, ".pkl")


def _source(data: bytes, chance: random.Random) -> bytes:
    return _with_edit(data, chance, ".py")


def _other_entries(data: bytes, chance: random.Random) -> bytes:
    """Missing, doubled, renamed or compressed entries, and one that climbs out."""
    entries = _entries(data)
    at = chance.randrange(len(entries))
    name, content = entries[at]
    kind = chance.randrange(5)
    if kind == 0:
        del entries[at]
    elif kind == 1:
        entries.append((name, chance.randbytes(len(content))))
    elif kind == 2:
        entries[at] = ("../" * chance.randint(1, 8) + name, content)
    elif kind == 3:
        entries[at] = (name, bytes(chance.choice([0, 1, 1 << 20])))
    else:
        return _packed(entries, zipfile.ZIP_DEFLATED)
    return _packed(entries)


KINDS = (_truncated, _flipped, _overwritten, _lying, _pickle, _source, _other_entries)


def mutant(data: bytes, seed: int) -> bytes:
    with warnings.catch_warnings():  # Doubled names are meant.
        warnings.simplefilter("ignore")
        return KINDS[seed % len(KINDS)](data, random.Random(seed))


def bomb(data: bytes, size: int) -> bytes:
    """An archive of some kilobytes per MiB, one of whose entries unpacks to `size` bytes."""
    entries = _entries(data)
    at = next(i for i, (name, _) in enumerate(entries) if name.endswith("data.pkl"))
    entries[at] = (entries[at][0], entries[at][1] + bytes(size))
    return _packed(entries, zipfile.ZIP_DEFLATED)
