"""Versions that a shared library needs and defines, read from its ELF file.

This file needs only Python 3.9 and the standard library, not edgeopt: it runs on the host and, pushed beside
`libraries.py`, on a device. Like the system's loader, it reads the program headers and the dynamic section, since a
stripped library may lack section headers. The layout is that of the System V ABI, chapters 4 and 5, and of the Linux
Standard Base for symbol versions (`.gnu.version_r`, `.gnu.version_d`).

Any defect of a file raises a `ValueError` with a sentence about it; the caller knows the file's name.
"""

from __future__ import annotations

import os
import re
import stat
import struct

TYPE_CHECKING = False  # typing itself is not needed on the device
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from typing import Any, BinaryIO

    PathLike = str | os.PathLike[str]

MACHINES = {
    3: "i686",
    8: "mips",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}
"""Values of the field `e_machine`, as names of `uname -m`."""
HARD_FLOAT = 0x05000400
"""Flags of a 32-bit ARM file that follows EABI version 5 and passes floats in floating-point registers."""
FAMILIES = ("GLIBC", "GLIBCXX", "CXXABI", "GCC")
"""Version families that the system's C and C++ libraries define."""
ALIASES = {"GLIBC_ABI_DT_RELR": "GLIBC_2.36"}
"""Versions without a number, and the first release that defines each."""
MOST_ENTRIES = 1 << 13
"""Limit on table entries: the largest known tables have a few hundred."""
LONGEST_NAME = 4096
_VERSION = re.compile(r"({})_(\d+(?:\.\d+)*)".format("|".join(FAMILIES)))
_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_NEEDED, _NAMES, _DEFINED, _DEFINED_COUNT, _WANTED, _WANTED_COUNT = 1, 5, *range(0x6FFFFFFC, 0x70000000)
_BASE, _WEAK = 1, 2


def header(path: PathLike) -> dict[str, Any]:
    """Return the platform that a program or library was built for.

    Returns:
        `machine` as in `uname -m`, `bits` (32 or 64), `hard_float` (on 32-bit ARM), and `interpreter`, the loader
        that a program requests, or empty.

    Raises:
        ValueError: It is not an ELF file, or damaged.
    """
    with _open(path) as stream:
        return _Library(stream).header()


def needed(path: PathLike, bundled: Collection[str] = ()) -> dict[str, Any]:
    """Return the needs of a library on the system that loads it.

    Args:
        path: The library.
        bundled: Names of libraries that come with it; needs that these meet are left out.

    Returns:
        `machine` and `bits`; `versions`, the newest version needed of each family (`{"GLIBC": "2.34"}`); `libraries`,
        the names of the libraries that it needs, without `bundled`.

    Raises:
        ValueError: It is not an ELF file, or damaged.
    """
    with _open(path) as stream:
        return needed_in(stream, bundled)


def needed_in(stream: BinaryIO, bundled: Collection[str] = ()) -> dict[str, Any]:
    """Return the result of `needed` for a library in an open, seekable file."""
    library = _Library(stream)
    wanted = (version for file, version, flags in library.wanted() if file not in bundled and not flags & _WEAK)
    names = [name for name in library.libraries() if name not in bundled]
    return {"machine": library.machine, "bits": library.bits, "versions": newest(wanted), "libraries": names}


def provided(path: PathLike) -> dict[str, str]:
    """Return the newest version of each family that a library such as `libc.so.6` defines.

    Raises:
        ValueError: It is not an ELF file, or damaged.
    """
    with _open(path) as stream:
        return newest(_Library(stream).defined())


def newest(names: Iterable[str]) -> dict[str, str]:
    """Return the newest version of each family among names such as `GLIBC_2.34`."""
    found: dict[str, str] = {}
    for name in names:
        match = _VERSION.fullmatch(ALIASES.get(name, name))
        if match and numbers(match.group(2)) > numbers(found.get(match.group(1), "")):
            found[match.group(1)] = match.group(2)
    return found


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as comparable numbers; the empty version is the oldest."""
    return tuple(int(part) for part in version.split(".") if part)


def _open(path: PathLike) -> BinaryIO:
    """Open a regular file; reject a pipe, which would hang, and a loop of links."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - a path may be a text
            raise ValueError("it is no regular file")
        return open(path, "rb")  # noqa: PTH123 - the caller closes it
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from error


class _Library:
    """An ELF file: each read is checked against its size, each table against a limit."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._walked = 0
        self._size = stream.seek(0, os.SEEK_END)
        start = self._read(0, min(16, self._size))
        if len(start) < 16 or start[:4] != b"\x7fELF":  # noqa: PLR2004 - the size of e_ident
            raise ValueError("it is no ELF file")
        if start[4] not in (1, 2) or start[5] not in (1, 2):
            raise ValueError("it is an ELF file of an unknown kind")
        self.bits = 32 * start[4]
        self._order = "<" if start[5] == 1 else ">"
        word = "I" if self.bits == 32 else "Q"  # noqa: PLR2004
        fields = self._unpack(f"HHI{word}{word}{word}IHHH", 16)
        self._flags, table, entry_size, count = fields[6], fields[4], fields[8], fields[9]
        name = MACHINES.get(fields[1], f"machine {fields[1]}")
        self.machine = "ppc64le" if name == "ppc64" and start[5] == 1 else name
        self._segments = list(self._read_segments(table, entry_size, count))
        self._dynamic = list(self._read_dynamic())
        self._names = next((value for tag, value in self._dynamic if tag == _NAMES), None)

    def header(self) -> dict[str, Any]:
        """Return the platform that the file was built for."""
        found = next((self._read(at, size) for kind, at, _, size in self._segments if kind == _INTERPRETER), b"")
        return {
            "machine": self.machine,
            "bits": self.bits,
            "hard_float": self.machine == "arm" and self._flags & HARD_FLOAT == HARD_FLOAT,
            "interpreter": found.rstrip(b"\0").decode("utf-8", "replace"),
        }

    def libraries(self) -> list[str]:
        """Return the names of the libraries that it needs, in order."""
        return [self._name(value) for tag, value in self._dynamic if tag == _NEEDED]

    def wanted(self) -> Iterator[tuple[str, str, int]]:
        """Yield library, version and flags of every version that it needs."""
        for at, (_, count, file, first, _) in self._chain("HHIII", _WANTED, _WANTED_COUNT):
            name = self._name(file)
            for _, (_, flags, _, version, _) in self._walk("IHHII", at + first, count):
                yield name, self._name(version), flags

    def defined(self) -> Iterator[str]:
        """Yield every version that it defines, except its own name."""
        for at, (_, flags, _, _, _, first, _) in self._chain("HHHHIII", _DEFINED, _DEFINED_COUNT):
            if not flags & _BASE:
                yield self._name(self._unpack("II", at + first)[0])

    def _chain(self, form: str, start: int, count: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Yield the entries of a table in the dynamic section, each with its offset; none if it lacks the table."""
        told = dict(self._dynamic)
        if start in told:
            yield from self._walk(form, self._offset(told[start]), told.get(count, 0))

    def _walk(self, form: str, offset: int, count: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Yield up to `count` entries with their offsets; the last field is the distance to the next entry."""
        for _ in range(count):
            self._walked += 1
            if self._walked > MOST_ENTRIES:
                raise ValueError(f"it tells more than {MOST_ENTRIES} versions, which is no library's")
            fields = self._unpack(form, offset)
            yield offset, fields
            if not fields[-1]:
                return
            offset += fields[-1]

    def _read_segments(self, table: int, entry_size: int, count: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield kind, file offset, memory address and file size of every segment."""
        for index in range(count):
            if self.bits == 32:  # noqa: PLR2004
                kind, offset, address, _, size = self._unpack("IIIII", table + index * entry_size)
            else:
                kind, _, offset, address, _, size = self._unpack("IIQQQQ", table + index * entry_size)
            yield kind, offset, address, size

    def _read_dynamic(self) -> Iterator[tuple[int, int]]:
        """Yield tags and values of the dynamic section; a statically linked file lacks it."""
        form = "II" if self.bits == 32 else "QQ"  # noqa: PLR2004
        step = struct.calcsize("=" + form)
        offset, size = next(((at, size) for kind, at, _, size in self._segments if kind == _DYNAMIC), (0, 0))
        if size > step * MOST_ENTRIES:
            raise ValueError(f"it tells a dynamic section of {size} bytes, which is no library's")
        for at in range(offset, offset + size - step + 1, step):
            tag, value = self._unpack(form, at)
            if tag == 0:
                return
            yield tag, value

    def _offset(self, address: int) -> int:
        """Return the file offset of an address in the loaded library."""
        for kind, offset, start, size in self._segments:
            if kind == _LOAD and start <= address < start + size:
                return offset + address - start
        raise ValueError(f"it names the address {address:#x}, which none of its segments holds")

    def _name(self, position: int) -> str:
        """Return a name from the table of names."""
        if self._names is None:
            raise ValueError("it has no table of names")
        start = self._offset(self._names) + position
        text, end, _ = self._read(start, min(LONGEST_NAME, max(0, self._size - start))).partition(b"\0")
        if not end:
            raise ValueError("it has a name without an end")
        return text.decode("utf-8", "replace")

    def _unpack(self, form: str, offset: int) -> tuple[int, ...]:
        form = self._order + form
        return struct.unpack(form, self._read(offset, struct.calcsize(form)))

    def _read(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes of the file."""
        if offset + size > self._size:
            raise ValueError(f"it is cut short: {offset + size} bytes are told, {self._size} are there")
        self._stream.seek(offset)
        found = self._stream.read(size)
        if len(found) != size:
            raise ValueError("it became shorter while it was read")
        return found
