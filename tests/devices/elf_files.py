"""ELF files of any kind, written here: both word sizes, both byte orders, any versions."""

import struct

MACHINES = {"arm": 40, "x86_64": 62, "aarch64": 183, "s390x": 22, "ppc64": 21, "i686": 3}
LOAD, DYNAMIC = 1, 2
NEEDED, NAMES, NAMES_SIZE, DEFINED, DEFINED_COUNT, WANTED, WANTED_COUNT = 1, 5, 10, *range(0x6FFFFFFC, 0x70000000)
ADDRESS = 0x10000
"""Where the file lies in memory: addresses and offsets must not be mistaken for each other."""
WEAK = 2


class Names:
    """The table of names that the others point into."""

    def __init__(self):
        self.table = b"\0"
        self._at = {}

    def __call__(self, name):
        if name not in self._at:
            self._at[name] = len(self.table)
            self.table += name.encode() + b"\0"
        return self._at[name]


def library(  # noqa: PLR0913
    *, machine="aarch64", bits=64, order="<", flags=0, wanted=None, defined=(), libraries=None, weak=()
):
    """A shared library as bytes.

    Args:
        wanted: By library, the versions that are needed of it.
        defined: The versions that it defines.
        libraries: What it is linked to; those in `wanted` when None.
        weak: Those of the wanted versions that it can do without.
    """
    wanted = wanted or {}
    names = Names()
    needed = [(NEEDED, names(name)) for name in (wanted if libraries is None else libraries)]
    needs = b"".join(_need(order, names, item, weak, item[0] == list(wanted)[-1]) for item in wanted.items())
    gives = b"".join(_give(order, names, index, name, len(defined)) for index, name in enumerate(("me", *defined)))
    head = 64 + 2 * 56
    at = {NAMES: head, WANTED: head + len(names.table), DEFINED: head + len(names.table) + len(needs)}
    counts = {NAMES_SIZE: len(names.table), WANTED_COUNT: len(wanted), DEFINED_COUNT: len(defined) + 1}
    entries = [*needed, *((tag, ADDRESS + offset) for tag, offset in at.items()), *counts.items(), (0, 0)]
    dynamic = b"".join(struct.pack(order + ("II" if bits == 32 else "QQ"), *entry) for entry in entries)
    body = names.table + needs + gives + dynamic
    size = head + len(body)
    segments = [(LOAD, 0, size), (DYNAMIC, size - len(dynamic), len(dynamic))]
    start = _head(MACHINES[machine], bits, order, flags) + b"".join(_segment(bits, order, *s) for s in segments)
    return start.ljust(head, b"\0") + body


def _head(machine, bits, order, flags):
    start = b"\x7fELF" + bytes([bits // 32, 1 if order == "<" else 2, 1]) + bytes(9)
    form, size, entry = ("IIIIHHHHHH", 52, 32) if bits == 32 else ("QQQIHHHHHH", 64, 56)
    return start + struct.pack(order + "HHI" + form, 3, machine, 1, 0, size, 0, flags, size, entry, 2, 0, 0, 0)


def _segment(bits, order, kind, offset, size):
    if bits == 32:
        return struct.pack(order + "IIIIIIII", kind, offset, ADDRESS + offset, 0, size, size, 5, 1)
    return struct.pack(order + "IIQQQQQQ", kind, 5, offset, ADDRESS + offset, 0, size, size, 1)


def _need(order, names, item, weak, last):
    file, versions = item
    following = 0 if last else 16 + 16 * len(versions)
    need = struct.pack(order + "HHIII", 1, len(versions), names(file), 16, following)
    for index, version in enumerate(versions):
        step = 0 if index == len(versions) - 1 else 16
        need += struct.pack(order + "IHHII", 0, WEAK if version in weak else 0, index + 2, names(version), step)
    return need


def _give(order, names, index, name, last):
    """A definition; the first one is the library's own name."""
    flags, step = (1 if index == 0 else 0), (0 if index == last else 28)
    return struct.pack(order + "HHHHIII", 1, flags, index + 1, 1, 0, 20, step) + struct.pack(
        order + "II", names(name), 0
    )
