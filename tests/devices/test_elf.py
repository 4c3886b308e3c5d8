"""The reader of ELF files, against binutils on real files, and on files that are broken."""

import ast
import importlib.util
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeopt.devices import elf
from tests.devices.elf_files import library

LITERT = Path(importlib.util.find_spec("ai_edge_litert").origin).parent
SYSTEM = ("libc.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libm.so.6")
KINDS = [("x86_64", 64, "<"), ("aarch64", 64, "<"), ("arm", 32, "<"), ("i686", 32, "<"), ("s390x", 64, ">")]


def system_library(name):
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"):
        if (Path(folder) / name).exists():
            return Path(folder) / name
    pytest.skip(f"this machine has no {name} where it is looked for")


def readelf(*arguments):
    if shutil.which("readelf") is None:
        pytest.skip("binutils are not installed")
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(["readelf", *arguments], capture_output=True, text=True, check=True, env=environment).stdout


def real_libraries():
    return [*sorted(LITERT.glob("*.so")), Path(sys.executable).resolve()]


@pytest.mark.parametrize("path", real_libraries(), ids=lambda path: path.name)
def test_what_a_real_library_needs_is_what_readelf_finds(path):
    told = readelf("--version-info", "--dynamic", "--wide", path)
    section = re.search(r"Version needs section.*", told, re.DOTALL)
    names = re.findall(r"Name: (\S+)", section[0]) if section else []
    found = elf.needed(path)
    assert found["versions"] == elf.newest(names)
    assert found["libraries"] == re.findall(r"\(NEEDED\).*\[(.+)\]", told)
    assert found["machine"] == os.uname().machine


def test_the_runtime_needs_the_c_library_and_the_cxx_library():
    """The comparison above would hold for a reader that finds nothing in files that have nothing."""
    found = elf.needed(LITERT / "libLiteRt.so")
    assert set(found["versions"]) == set(elf.FAMILIES)
    assert elf.numbers(found["versions"]["GLIBC"]) >= (2, 17)


@pytest.mark.parametrize("name", SYSTEM)
def test_what_a_system_library_defines_is_what_readelf_finds(name):
    path = system_library(name)
    told = readelf("--version-info", "--wide", path)
    section = re.search(r"Version definition section.*?(?=\n\n|\Z)", told, re.DOTALL)[0]
    names = re.findall(r"Flags: none .*Name: (\S+)", section)
    assert names
    assert elf.provided(path) == elf.newest(names) != {}


def test_the_header_of_this_python():
    found = elf.header(sys.executable)
    assert found["machine"] == os.uname().machine
    assert found["bits"] == 64
    assert found["interpreter"] in readelf("--program-headers", "--wide", sys.executable)
    assert found["interpreter"].startswith("/lib")


@pytest.mark.parametrize(("machine", "bits", "order"), KINDS)
def test_every_word_size_and_byte_order(tmp_path, machine, bits, order):
    wanted = {"libc.so.6": ["GLIBC_2.9", "GLIBC_2.34", "GLIBC_2.4"], "libstdc++.so.6": ["GLIBCXX_3.4.30", "CXXABI_1.3"]}
    defined = ("GLIBC_2.2", "GLIBC_2.10", "GLIBC_2.9", "GLIBC_PRIVATE")
    path = tmp_path / "lib.so"
    path.write_bytes(library(machine=machine, bits=bits, order=order, wanted=wanted, defined=defined))
    assert elf.needed(path) == {
        "machine": machine,
        "bits": bits,
        "versions": {"GLIBC": "2.34", "GLIBCXX": "3.4.30", "CXXABI": "1.3"},
        "libraries": ["libc.so.6", "libstdc++.so.6"],
    }
    assert elf.provided(path) == {"GLIBC": "2.10"}
    listed = re.findall(r"\(NEEDED\).*\[(.+)\]", readelf("--dynamic", "--use-dynamic", "--wide", path))
    assert listed == ["libc.so.6", "libstdc++.so.6"]


def test_arm_with_hard_and_with_soft_floats(tmp_path):
    for flags, hard in ((0x05000400, True), (0x05000200, False)):
        (tmp_path / "lib.so").write_bytes(library(machine="arm", bits=32, flags=flags))
        assert elf.header(tmp_path / "lib.so")["hard_float"] is hard


def test_what_comes_along_and_what_is_weak_is_no_need(tmp_path):
    wanted = {"libgcc_s-ab12.so.1": ["GCC_14.0.0"], "libc.so.6": ["GLIBC_2.17", "GLIBC_2.40"]}
    path = tmp_path / "lib.so"
    path.write_bytes(library(wanted=wanted, weak=("GLIBC_2.40",)))
    found = elf.needed(path, bundled={"libgcc_s-ab12.so.1"})
    assert found["versions"] == {"GLIBC": "2.17"}
    assert found["libraries"] == ["libc.so.6"]
    assert elf.needed(path)["versions"] == {"GLIBC": "2.17", "GCC": "14.0.0"}


def test_packed_relocations_need_the_release_that_brought_them(tmp_path):
    path = tmp_path / "lib.so"
    path.write_bytes(library(wanted={"libc.so.6": ["GLIBC_2.17", "GLIBC_ABI_DT_RELR"]}))
    assert elf.needed(path)["versions"] == {"GLIBC": "2.36"}


def test_a_library_that_is_linked_to_nothing(tmp_path):
    path = tmp_path / "lib.so"
    path.write_bytes(library())
    assert elf.needed(path) == {"machine": "aarch64", "bits": 64, "versions": {}, "libraries": []}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is no ELF file"),
        (b"/* GNU ld script */ INPUT(-lm)", "it is no ELF file"),
        (b"\x7fELF\x09\x01" + bytes(60), "it is an ELF file of an unknown kind"),
        (b"\x7fELF\x02\x01" + bytes(20), "it is cut short: 58 bytes are told, 26 are there"),
    ],
)
def test_what_is_no_library(tmp_path, content, reason):
    (tmp_path / "lib.so").write_bytes(content)
    with pytest.raises(ValueError, match=f"^{reason}$"):
        elf.needed(tmp_path / "lib.so")


@pytest.mark.parametrize("bits", [32, 64])
def test_a_library_that_is_cut_short_anywhere_is_refused(tmp_path, bits):
    whole = library(bits=bits, wanted={"libc.so.6": ["GLIBC_2.34"]}, defined=("GLIBC_2.2",))
    path = tmp_path / "lib.so"
    for length in range(len(whole) - (8 if bits == 32 else 16)):  # the last entry only ends the section
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"^it (is|has|names|tells) "):
            elf.needed(path)


def test_damage_never_does_more_than_refuse(tmp_path):
    """Bytes are overwritten at random; the seed is fixed, so that a failure can be had again."""
    whole = library(wanted={"libc.so.6": ["GLIBC_2.34", "GLIBC_2.2"]}, defined=("GLIBC_2.2",))
    chance, path, refused = random.Random(4), tmp_path / "lib.so", 0  # noqa: S311 - no secret
    for _ in range(500):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.choice((0, 1, 0x7F, 0xFF))
        path.write_bytes(damaged)
        refused += sum(is_refused(ask, path) for ask in (elf.needed, elf.provided, elf.header))
    assert refused > 50


def is_refused(ask, path):
    try:
        ask(path)
    except ValueError as error:
        return str(error).startswith("it ")
    return False


def test_a_table_that_is_no_library_s_is_refused(tmp_path):
    path = tmp_path / "lib.so"
    path.write_bytes(library(wanted={"libc.so.6": ["GLIBC_2.2"] * 5_000, "libm.so.6": ["GLIBC_2.2"] * 3_000}))
    assert elf.needed(path)["versions"] == {"GLIBC": "2.2"}
    path.write_bytes(library(wanted={"libc.so.6": ["GLIBC_2.2"] * 5_000, "libm.so.6": ["GLIBC_2.2"] * 5_000}))
    with pytest.raises(ValueError, match="it tells more than 8192 versions, which is no library's"):
        elf.needed(path)


def test_links_in_a_circle_pipes_and_folders(tmp_path):
    (tmp_path / "one.so").symlink_to(tmp_path / "two.so")
    (tmp_path / "two.so").symlink_to(tmp_path / "one.so")
    os.mkfifo(tmp_path / "pipe.so")
    with pytest.raises(ValueError, match="it cannot be read: Too many levels of symbolic links"):
        elf.needed(tmp_path / "one.so")
    with pytest.raises(ValueError, match="it cannot be read: No such file or directory"):
        elf.needed(tmp_path / "three.so")
    for path in (tmp_path / "pipe.so", tmp_path):
        with pytest.raises(ValueError, match="it is no regular file"):
            elf.provided(path)


@pytest.mark.parametrize("name", ["elf", "libraries"])
def test_the_file_is_python_3_9_and_needs_the_standard_library_alone(name):
    source = Path(elf.__file__).with_name(f"{name}.py").read_text("utf-8")
    tree = ast.parse(source, feature_version=(3, 9))
    nodes = list(ast.walk(tree))
    imported = {alias.name.partition(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module.partition(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
    assert imported - {"elf", "system", "edgeopt"} <= set(sys.stdlib_module_names)
