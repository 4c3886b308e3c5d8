"""Runners and feeds for a harness that really runs, without a heavy runtime."""

import json
import textwrap
from pathlib import Path

import numpy as np
import pytest

from edgeopt.devices.local import LocalDevice
from edgeopt.measure import harness

RUNNER = """
import os, sys, time
import numpy as np

class Runner:
    def __init__(self, path, threads):
        self.path, self.threads, self.calls = path, threads, 0
    def feed(self, inputs):
        self.inputs = inputs
    def invoke(self):
        self.calls += 1
        {invoke}
    def outputs(self):
        return {{"double": 2 * self.inputs["x"], "rows": np.float64(self.inputs["x"].shape[0])}}
    {extra}

def load(path, threads):
    {load}
    return Runner(path, threads)
"""


@pytest.fixture
def write_runner(tmp_path):
    """Return a function that writes a runner file; `invoke`, `load` and `extra` are its special lines."""

    def write(name: str = "plain", *, invoke: str = "pass", load: str = "pass", extra: str = "pass") -> Path:
        file = tmp_path / f"{name}.py"
        text = RUNNER.format(
            invoke=textwrap.indent(textwrap.dedent(invoke), " " * 8).strip(),
            load=textwrap.indent(textwrap.dedent(load), " " * 4).strip(),
            extra=textwrap.indent(textwrap.dedent(extra), " " * 4).strip(),
        )
        file.write_text(text)
        return file

    return write


@pytest.fixture
def write_feeds(tmp_path):
    """Return a function that writes samples as the folder that the harness reads."""

    def write(samples, batch: int = 1, count: int | None = None) -> Path:
        folder = tmp_path / "feeds"
        folder.mkdir()
        files = {name: f"{number}.npy" for number, name in enumerate(samples)}
        for name, file in files.items():
            np.save(folder / file, samples[name])
        first = next(iter(samples.values()))
        index = {"inputs": files, "count": len(first) // batch if count is None else count, "batch": batch}
        (folder / "index.json").write_text(json.dumps(index))
        return folder

    return write


@pytest.fixture
def feeds(write_feeds):
    """Six samples of three numbers."""
    return write_feeds({"x": np.arange(18, dtype=np.float32).reshape(6, 3)})


@pytest.fixture
def device():
    """This machine; everything that was started on it is ended after the test."""
    device = LocalDevice()
    yield device
    device.close()


@pytest.fixture
def open_harness(device, tmp_path):
    """Return a function that starts a harness and returns the conversation with it."""
    return lambda **settings: device.open(Path(harness.__file__), log=tmp_path / "harness.log", **settings)


@pytest.fixture
def load(open_harness):
    """Return a function that starts a harness with a runner file loaded; the answer to `load` comes with it."""

    def load(runner: Path, threads: int = 1):
        channel = open_harness(threads=threads)
        message = {"op": "load", "runner": str(runner), "artifact": "/some/artifact", "threads": threads}
        return channel, channel.ask(message, 20)

    return load
