"""Wheels for a device, by the real pip: from a folder of small ones, and the real runtime from the registry."""

import zipfile

import pytest

from edgeopt.devices import wheels
from edgeopt.devices.libraries import _platforms
from edgeopt.errors import UnavailableError
from tests.devices.elf_files import library


def device(python, glibc, **versions):
    """What an aarch64 device tells of itself; see `libraries.provided_here`."""
    short = ".".join(python.split(".")[:2])
    built = {"machine": "aarch64", "hard_float": False}
    return {
        "machine": "aarch64",
        "versions": {"GLIBC": glibc, "GLIBCXX": "3.4.28", "CXXABI": "1.3.12", "GCC": "7.0.0", **versions},
        "python": python,
        "abi": f"cp{short.replace('.', '')}",
        "platforms": list(_platforms(built, "glibc", glibc)),
        "markers": {"python_version": short, "platform_machine": "aarch64", "sys_platform": "linux"},
    }


OLD = device("3.10.12", "2.31")


@pytest.fixture
def fetched(tmp_path):
    """A function that fetches and returns the names of what came, and what was said."""

    def fetch(requirements, provided=OLD):
        said = []
        wheels.fetch(requirements, provided, tmp_path / "wheels", said.append)
        return ["-".join(path.name.split("-")[:2]) for path in sorted((tmp_path / "wheels").iterdir())], said

    return fetch


def test_what_is_required_is_judged_by_the_device_and_not_by_this_machine(registry, fetched):
    registry("runtime", "1.0", requires=["old; python_version < '3.11'", "new; python_version >= '3.11'", "more[x]>1"])
    registry("old", "1.0", requires=["ours; platform_machine == 'aarch64'", "theirs; platform_machine == 'x86_64'"])
    registry("more", "2.0", requires=["extra; extra == 'x'", "other; extra == 'y'", "old"])
    for name in ("ours", "extra"):
        registry(name, "1.0")
    assert fetched(["runtime>=1", "absent; python_version >= '3.11'"]) == (
        ["extra-1.0", "more-2.0", "old-1.0", "ours-1.0", "runtime-1.0"],
        [],
    )


def test_a_wheel_that_would_not_load_gives_way_to_an_older_one(registry, fetched):
    for version, glibc in (("1.0", "2.17"), ("2.0", "2.34"), ("3.0", "2.38")):
        registry("runtime", version, glibc=glibc, tag="cp310-cp310-manylinux_2_17_aarch64")
    names, said = fetched(["runtime"])
    assert names == ["runtime-1.0"]
    assert said == [
        f"runtime {version} would not load: lib.so needs GLIBC {glibc}, and the system has 2.31;"
        " looking for an older one"
        for version, glibc in (("3.0", "2.38"), ("2.0", "2.34"))
    ]
    with pytest.raises(UnavailableError) as caught:
        fetched(["runtime>=2"])
    assert caught.value.message == (
        "no older version is to be had: runtime 2.0 would not load: lib.so needs GLIBC 2.34, and the system has 2.31"
    )
    assert caught.value.hint == "Debian 12 or newer has what it needs"


def test_what_there_is_no_wheel_of(registry, fetched):
    registry("runtime", "1.0", tag="cp310-cp310-manylinux_2_17_aarch64")
    registry("runtime", "1.5", tag="cp310-cp310-manylinux_2_17_aarch64")
    registry("runtime", "2.0", tag="cp311-cp311-manylinux_2_17_aarch64")
    with pytest.raises(UnavailableError) as caught:
        fetched(["runtime>=2"])
    assert caught.value.message == ("there is no wheel of runtime>=2 for its Python and its system, only of 1.0 to 1.5")
    assert caught.value.hint == "a newer system, with a newer Python, may help"
    with pytest.raises(UnavailableError) as caught:
        fetched(["no-such-runtime"])
    assert caught.value.hint == "does this machine reach a package registry?"


@pytest.mark.slow
def test_the_real_runtime_for_a_board_that_has_room_for_it_and_for_one_that_is_too_old(fetched):
    names, said = fetched(
        ["ai-edge-litert>=2.3"], device("3.11.2", "2.36", GLIBCXX="3.4.30", CXXABI="1.3.13", GCC="11.0")
    )
    assert said == []
    assert {name.partition("-")[0] for name in names} >= {"ai_edge_litert", "numpy", "flatbuffers"}
    with pytest.raises(UnavailableError, match=r"libLiteRt\.so needs GLIBC 2\.34, and the system has 2\.31") as caught:
        fetched(["ai-edge-litert>=2.3"])
    assert caught.value.hint == "Debian 12 or newer has what it needs"


def test_a_wheel_of_another_machine_and_a_damaged_library(tmp_path):
    with zipfile.ZipFile(tmp_path / "a-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("a/foreign.so.1", library(machine="x86_64"))
        wheel.writestr("a/cut.so", library()[:50])
        wheel.writestr("a/text.so.txt", "no library")
    damaged, machine = wheels.check_wheel(tmp_path / "a-1-py3-none-any.whl", OLD)
    assert (damaged["file"], damaged["family"]) == ("a/cut.so", "file")
    assert machine == {"file": "a/foreign.so.1", "family": "machine", "wanted": "x86_64", "has": "aarch64"}


def test_a_pip_that_an_old_python_can_run(tmp_path):
    assert wheels.fetch_pip("3.9.2", tmp_path / "pip").name.startswith("pip-2")
