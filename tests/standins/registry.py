"""A folder of small wheels that pip takes for a registry."""

import zipfile

import pytest

from edgeopt.registry import find_backends
from tests.devices.elf_files import library

OURS = "edgeopt-test-runtime>=1"


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A function that puts a wheel into the only folder that pip looks at, and returns it."""
    folder = tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    def put(name, version, *, requires=(), glibc=None, machine="aarch64", tag="py3-none-any"):  # noqa: PLR0913
        path = folder / f"{name}-{version}-{tag}.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            info = f"{name}-{version}.dist-info"
            about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            wheel.writestr(f"{info}/METADATA", about + "".join(f"Requires-Dist: {text}\n" for text in requires))
            wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
            wheel.writestr(f"{info}/RECORD", "")
            wheel.writestr(f"{name}/vendored.dist-info/METADATA", "not this one")
            if glibc:
                wheel.writestr(f"{name}/lib.so", library(machine=machine, wanted={"libc.so.6": [f"GLIBC_{glibc}"]}))
        return path

    return put


@pytest.fixture
def runtime(registry, monkeypatch):
    """A runtime that this machine's pip finds and that of the device does not; everything else comes as usual."""
    monkeypatch.delenv("PIP_NO_INDEX")
    registry("edgeopt_test_runtime", "1.5", requires=["packaging"])
    registry("edgeopt_test_runtime", "1.2")
    for name, requires in (("tflite", OURS), ("tf-gpu", "edgeopt-test-runtime<1.5"), ("openvino", "no-such-runtime")):
        monkeypatch.setattr(find_backends().backends[name].backend, "requires", (requires,))
