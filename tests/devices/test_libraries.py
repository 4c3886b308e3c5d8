"""What a system gives to packages: against `packaging`, which is what pip itself asks, and against real libraries."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging import markers, tags

from edgeopt.devices import elf, libraries
from edgeopt.measure import system
from tests.devices.elf_files import library

ONLY_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the tags of other systems are made otherwise")
OLD = {"GLIBC": "2.31", "GLIBCXX": "3.4.28", "CXXABI": "1.3.12", "GCC": "7.0.0"}


def put(site, name, version, files):
    """A distribution as pip leaves it, with these libraries."""
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in (*files, "gone.py")))
    for path, content in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(content)


@pytest.fixture
def pushed(tmp_path):
    """Runs the files as on a device: from a folder with nothing else, by another process."""
    work = tmp_path / "work folder"
    work.mkdir()
    for module in (elf, libraries, system):
        shutil.copy(module.__file__, work)

    def run(*names, site=""):
        environment = {**os.environ, "PYTHONPATH": str(site)}
        argv = [sys.executable, work / "libraries.py", *names]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path)
        assert done.stdout.count("\n") == 1
        return json.loads(done.stdout)

    return run


@ONLY_LINUX
def test_the_tags_are_those_that_pip_takes():
    found = libraries.provided_here()
    assert found["platforms"] == list(tags.platform_tags())
    best = next(tags.sys_tags())
    assert (found["tag"], found["abi"], found["platforms"][0]) == (best.interpreter, best.abi, best.platform)
    assert found["markers"] == {k: v for k, v in markers.default_environment().items() if k != "extra"}


@ONLY_LINUX
def test_the_versions_are_those_of_the_libraries_of_this_machine():
    found = libraries.provided_here()
    assert found["libc"] == "glibc"
    assert found["versions"]["GLIBC"] == found["libc_version"] == os.confstr("CS_GNU_LIBC_VERSION").split()[1]
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"):
        if (cxx := Path(folder) / "libstdc++.so.6").exists():
            assert elf.provided(cxx).items() <= found["versions"].items()
    assert found["machine"] == os.uname().machine
    assert found["pip"]
    assert not found["managed"]


@pytest.mark.parametrize(
    ("kernel", "hard", "expected"),
    [
        ("armv7l", True, ["linux_armv7l", "manylinux_2_18_armv7l", "manylinux_2_17_armv7l", "manylinux2014_armv7l"]),
        ("armv7l", False, ["linux_armv7l"]),
        ("armv6l", True, ["linux_armv6l"]),
        (
            "aarch64",
            True,
            ["linux_armv8l", "linux_armv7l", "manylinux_2_18_armv7l", "manylinux_2_17_armv7l", "manylinux2014_armv7l"],
        ),
    ],
)
@ONLY_LINUX
def test_a_32_bit_board_whatever_its_kernel(monkeypatch, kernel, hard, expected):
    monkeypatch.setattr(libraries.platform, "machine", lambda: kernel)
    built = {"machine": "arm", "bits": 32, "hard_float": hard, "interpreter": ""}
    assert list(libraries._platforms(built, "glibc", "2.18")) == expected


@ONLY_LINUX
def test_a_system_with_musl_takes_other_wheels():
    built = {"machine": "aarch64", "bits": 64, "hard_float": False, "interpreter": "/lib/ld-musl-aarch64.so.1"}
    expected = ["linux_aarch64", "musllinux_1_2_aarch64", "musllinux_1_1_aarch64", "musllinux_1_0_aarch64"]
    assert list(libraries._platforms(built, "musl", "1.2")) == expected
    assert list(libraries._platforms(built, "musl", "")) == ["linux_aarch64"]


def test_the_version_of_musl_is_what_its_loader_says(monkeypatch, tmp_path):
    loader = tmp_path / "ld-musl-x86_64.so.1"
    loader.write_text(
        "#!/bin/sh\nprintf 'musl libc (x86_64)\\nVersion 1.2.4\\nDynamic Program Loader\\n' >&2\nexit 1\n"
    )
    loader.chmod(0o755)
    monkeypatch.setattr(os, "confstr", lambda name: (_ for _ in ()).throw(ValueError(name)))
    assert libraries._libc(str(loader)) == ("musl", "1.2")
    assert libraries._libc("/system/bin/linker64")[0] == "bionic"
    assert libraries._libc("/lib/ld-musl-none.so.1") == ("musl", "")
    assert libraries._libc("") == ("", "")


def test_unmet_names_the_file_that_is_farthest_from_fitting():
    needs = {
        "a.so": {"machine": "aarch64", "versions": {"GLIBC": "2.32"}},
        "b.so": {"machine": "aarch64", "versions": {"GLIBC": "2.34", "GLIBCXX": "3.4.9", "GCC": "3.0"}},
        "c.so": {"machine": "aarch64", "versions": {"GLIBC": "2.17", "GLIBCXX": "3.4.30"}},
    }
    assert libraries.unmet(needs, "aarch64", OLD) == [
        {"file": "b.so", "family": "GLIBC", "wanted": "2.34", "has": "2.31"},
        {"file": "c.so", "family": "GLIBCXX", "wanted": "3.4.30", "has": "3.4.28"},
    ]
    assert libraries.unmet(needs, "aarch64", {"GLIBC": "2.34", "GLIBCXX": "3.4.30", "GCC": "3.0"}) == []
    assert libraries.unmet({"c.so": needs["c.so"]}, "aarch64", {"GLIBC": "2.40"}) == [
        {"file": "c.so", "family": "GLIBCXX", "wanted": "3.4.30", "has": ""}
    ]
    assert libraries.unmet(needs, "x86_64", OLD) == [
        {"file": "a.so", "family": "machine", "wanted": "aarch64", "has": "x86_64"}
    ]


@ONLY_LINUX
def test_what_is_installed_is_checked_where_it_lies(pushed, tmp_path):
    own = libraries.provided_here()["machine"]
    other = "x86_64" if own == "aarch64" else "aarch64"
    fits = library(machine=own, wanted={"libc.so.6": ["GLIBC_2.2.5"], "libown-1a.so.1": ["GCC_99.0"]})
    put(tmp_path / "site", "fits", "1.0", {"fits/a.so": fits, "fits.libs/libown-1a.so.1": library(machine=own)})
    put(tmp_path / "site", "new", "2.0", {"new/b.so": library(machine=own, wanted={"libc.so.6": ["GLIBC_9.99"]})})
    put(tmp_path / "site", "foreign", "3.0", {"foreign/c.so": library(machine=other)})
    put(tmp_path / "site", "cut", "4.0", {"cut/d.so": fits[:90]})
    answer = pushed("fits", "new", "foreign", "cut", "absent", site=tmp_path / "site")
    assert answer["provided"] == libraries.provided_here()
    glibc = answer["provided"]["versions"]["GLIBC"]
    newer = [{"file": "new/b.so", "family": "GLIBC", "wanted": "9.99", "has": glibc}]
    machine = [{"file": "foreign/c.so", "family": "machine", "wanted": other, "has": own}]
    short = [
        {"file": "cut/d.so", "family": "file", "wanted": "", "has": "it is cut short: 104 bytes are told, 90 are there"}
    ]
    assert answer["distributions"] == {
        "fits": {"version": "1.0", "unmet": [], "ok": True},
        "new": {"version": "2.0", "unmet": newer, "ok": False},
        "foreign": {"version": "3.0", "unmet": machine, "ok": False},
        "cut": {"version": "4.0", "unmet": short, "ok": False},
        "absent": {"version": None, "unmet": [], "ok": False},
    }


@ONLY_LINUX
def test_the_real_runtime_fits_this_machine_and_not_an_older_one(pushed):
    distributions = pushed("ai-edge-litert", "numpy")["distributions"]
    assert distributions["ai-edge-litert"]["ok"]
    assert distributions["numpy"]["ok"]
    older = libraries._check("ai-edge-litert", libraries.provided_here()["machine"], {"GLIBC": "2.17"})
    assert [entry["family"] for entry in older["unmet"]] == ["GLIBC", "GLIBCXX", "CXXABI", "GCC"]
    assert older["unmet"][0]["file"].startswith("ai_edge_litert/lib")


OWN, OTHER = "cp{}{}".format(*sys.version_info), f"cp3{sys.version_info[1] + 1}"


@pytest.mark.parametrize(
    ("tags", "fits"),
    [
        ([], True),
        ([f"{OWN}-{OWN}-linux_x86_64"], True),
        (["py2-none-any", "py3-none-any"], True),
        (["py2.py3-none-any"], True),
        (["cp32-abi3-linux_x86_64"], True),
        ([f"{OTHER}-{OTHER}-linux_x86_64", f"{OWN}-{OWN}-linux_x86_64"], True),
        ([f"{OTHER}-{OTHER}-linux_x86_64"], False),
        ([f"{OTHER}-abi3-linux_x86_64"], False),
        (["cp32-cp32m-linux_x86_64"], False),
    ],
)
def test_what_was_built_for_another_python(tags, fits):
    wheel = "".join(f"Tag: {tag}\n" for tag in tags)
    own = "{}.{}".format(*sys.version_info)
    version = f"{tags[0][2]}.{tags[0].split('-')[0][3:]}" if tags else ""
    entry = {"file": "name", "family": "python", "wanted": version, "has": own}
    assert libraries._other_python("name", wheel) == ([] if fits else [entry])


def test_the_newest_version_of_a_family_counts_whichever_library_defines_it(monkeypatch, tmp_path):
    for name, defined in (("libc.so.6", ["GLIBC_2.17"]), ("libgcc_s.so.1", ["GLIBC_2.0", "GCC_3.0"])):
        (tmp_path / name).write_bytes(library(defined=defined))
    monkeypatch.setattr(libraries, "_mapped", lambda: sorted(map(str, tmp_path.iterdir())))
    assert libraries._versions("2.31") == {"GLIBC": "2.31", "GCC": "3.0"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'ID=raspbian\nID_LIKE=debian\nPRETTY_NAME="Raspbian 11"\n',
            {"id": "raspbian", "like": "debian", "name": "Raspbian 11"},
        ),
        ("ID=alpine # small\n", {"id": "alpine", "like": "", "name": ""}),
        ('ID="half\n', {"id": "", "like": "", "name": ""}),
    ],
)
def test_what_the_system_calls_itself(monkeypatch, tmp_path, text, expected):
    (tmp_path / "os-release").write_text(text)
    monkeypatch.setattr(libraries, "RELEASE", str(tmp_path / "os-release"))
    assert libraries._system() == expected
