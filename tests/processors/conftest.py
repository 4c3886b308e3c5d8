"""Quantized artifacts of every backend, made once on this machine, and their answers on other processors."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Iterable, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from edgeopt.api import ExportRequest
from edgeopt.devices.emulated import EmulatedDevice
from edgeopt.devices.local import LocalDevice
from edgeopt.devices.remote import RemoteDevice
from edgeopt.devices.ssh import COMMAND_VARIABLE, SshTransport
from edgeopt.errors import ExportError
from edgeopt.options import fill
from edgeopt.registry import find_backends
from edgeopt.source.choice import resolve_source
from edgeopt.source.model import open_source
from tests.processors import models
from tests.processors.models import Specimen
from tests.standins import qemu, rootfs
from tests.standins.boards import PI4
from tests.standins.roots import OtherRoot
from tests.standins.sshd import Sshd

ANSWERING = Path(__file__).with_name("answering.py")
HERE, BOARD = "here", "arm64"
QUANTIZED = {
    "tflite": ("float16", "dynamic-int8", "int8", "int8-int16"),
    "onnxruntime": ("float16", "dynamic-int8", "int8"),
    "openvino": ("float16", "int8"),
}


def pytest_generate_tests(metafunc):
    if "processor" in metafunc.fixturenames:
        metafunc.parametrize("processor", [HERE, *metafunc.config.getoption("--cpu")])
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in QUANTIZED])


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory, pytestconfig):
    """Return a function that gives the folder of a backend's artifacts, with the source's answers beside them."""
    # Without a processor to compare with, the models that are made to overflow are enough.
    wanted = models.SMALL if pytestconfig.getoption("--cpu") else models.HEAVY
    made: dict[str, Path] = {}

    def make(backend: str) -> Path:
        if backend not in made:
            made[backend] = export_all(backend, wanted, QUANTIZED[backend], tmp_path_factory.mktemp(backend))
        return made[backend]

    return make


@pytest.fixture(scope="session")
def answers(artifacts, tmp_path_factory):
    """Return a function that gives a folder with the answers of a backend's artifacts on a processor."""
    found: dict[tuple[str, str], Path] = {}

    def ask(backend: str, processor: str) -> Path:
        if (backend, processor) not in found:
            out = tmp_path_factory.mktemp(f"{backend}-{processor}")
            with processor_device(processor, out.with_suffix(".board")) as device:
                answer(device, artifacts(backend), out, out.with_suffix(".log"))
            found[backend, processor] = out
        return found[backend, processor]

    return ask


def export_all(backend: str, wanted: Mapping[str, Specimen], quantizations: Iterable[str], folder: Path) -> Path:
    """Export every model in every number format, and write feeds, reference and cases into `folder`."""
    import keras

    kind = find_backends().get(backend).backend
    folder.mkdir(exist_ok=True)
    shutil.copyfile(kind.runner, folder / "runner.py")
    cases = []
    for name, specimen in wanted.items():
        keras.utils.set_random_seed(7)
        (scratch := folder / "made" / name).mkdir(parents=True)
        source = open_source(resolve_source(str(specimen.path(scratch))), scratch / "run")
        feeds = specimen.feeds(np.random.default_rng(7), tuple(spec.name for spec in source.inputs))
        calibration, evaluation = feeds[: specimen.calibration], feeds[specimen.calibration :]
        write_feeds(folder / name, evaluation, source)
        for quantization in quantizations:
            out_dir = folder / f"{name}-{quantization}"
            out_dir.mkdir()
            options = fill(kind.Options, {"quantization": quantization}, origin="test")
            try:
                artifact = kind().export(ExportRequest(source, out_dir, options, calibration, log=lambda _: None))
            except ExportError:
                continue
            case = {"name": out_dir.name, "model": name, "runner": "runner.py", "feeds": len(evaluation)}
            cases.append({**case, "artifact": artifact.main.relative_to(folder).as_posix()})
    # what a backend cannot make of a small model is not wrong anywhere, and its own tests say which that is
    made = {case["name"] for case in cases}
    assert made >= {f"{name}-{kind}" for name in models.HEAVY.keys() & wanted.keys() for kind in quantizations}
    shutil.rmtree(folder / "made")
    (folder / "cases.json").write_text(json.dumps(cases))
    return folder


def write_feeds(folder, feeds, source) -> None:
    """Write every feed, and what the source answers to it."""
    folder.mkdir()
    for number, feed in enumerate(feeds):
        np.savez(folder / f"{number}.npz", **feed)
        np.savez(folder / f"{number}.reference.npz", **source.infer(feed))


@contextmanager
def processor_device(processor: str, scratch: Path):
    """Give a connected device that has this processor."""
    if processor == BOARD:
        root = OtherRoot(rootfs.made(rootfs.EVERY_RUNTIME), PI4)
        with Sshd(scratch, root=root) as board, pytest.MonkeyPatch.context() as patch:
            patch.setenv(COMMAND_VARIABLE, shlex.join(["ssh", "-F", str(board.config)]))
            with closing(RemoteDevice(SshTransport(board.alias), python=board.python)) as device:
                device.connect()
                yield device
        return
    with pytest.MonkeyPatch.context() as patch:
        if processor != HERE:
            patch.setenv("PATH", f"{qemu.folder()}{os.pathsep}{os.environ['PATH']}")
        with closing(LocalDevice() if processor == HERE else EmulatedDevice(processor)) as device:
            device.connect()
            yield device


def answer(device, folder: Path, out: Path, log: Path) -> None:
    with device.place(out) as there:
        with device.open(ANSWERING, log=log) as channel:
            channel.ask({"folder": device.push(folder), "out": there}, 1200)
        device.pull(there, out)
