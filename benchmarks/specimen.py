"""A small real artifact for the benchmarks: a `.tflite` of about two milliseconds, with plain and slow runners."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgeopt.measure import harness
from edgeopt.measure.process import Subject

if TYPE_CHECKING:
    from edgeopt.devices.base import Device

MAKE = """
import sys
import numpy as np
import tensorflow as tf

class Net(tf.Module):
    def __init__(self):
        random = tf.random.Generator.from_seed(1)
        widths = [3, 160, 160, 160]
        self.kernels = [tf.Variable(random.normal([3, 3, *pair], stddev=0.1)) for pair in zip(widths, widths[1:])]

    @tf.function(input_signature=[tf.TensorSpec([1, 64, 64, 3], tf.float32, name="x")])
    def answer(self, x):
        for kernel in self.kernels:
            x = tf.nn.relu(tf.nn.conv2d(x, kernel, 2, "SAME"))
        return {"y": tf.reduce_mean(x, [1, 2])}

net = Net()
converter = tf.lite.TFLiteConverter.from_concrete_functions([net.answer.get_concrete_function()], net)
open(sys.argv[1], "wb").write(converter.convert())
np.save(sys.argv[2], np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32))
"""

RUNNER = """
import time
from ai_edge_litert.interpreter import Interpreter

EXTRA_NS = {extra_ns}

class Runner:
    def __init__(self, path, threads):
        self.interpreter = Interpreter(model_path=path, num_threads=threads)
        self.interpreter.allocate_tensors()
        self.run = self.interpreter.invoke
        if not EXTRA_NS:
            self.invoke = self.run

    def feed(self, inputs):
        self.interpreter.set_tensor(self.interpreter.get_input_details()[0]["index"], inputs["x"])

    def invoke(self):
        self.run()
        end = time.perf_counter_ns() + EXTRA_NS
        while time.perf_counter_ns() < end:
            pass

def load(path, threads):
    return Runner(path, threads)
"""


class Specimen:
    """The artifact and its feed in `folder`, made there at first use.

    Args:
        folder: Where the files are kept.
        device: Where it runs.
    """

    def __init__(self, folder: Path, device: Device) -> None:
        self.folder = folder
        self.device = device
        self.model = folder / "model.tflite"
        self.feeds = folder / "feeds"
        self.feeds.mkdir(parents=True, exist_ok=True)
        if not (self.feeds / "index.json").exists():
            argv = [sys.executable, "-c", MAKE, str(self.model), str(self.feeds / "0.npy")]
            with (folder / "make.log").open("wb") as log:
                subprocess.run(argv, stderr=log, check=True)
            index = {"inputs": {"x": "0.npy"}, "count": 1, "batch": 1}
            (self.feeds / "index.json").write_text(json.dumps(index))

    def subject(self, name: str, extra_ns: int = 0) -> Subject:
        """Return a copy of the artifact whose runner spins for `extra_ns` in every inference."""
        runner = self.folder / f"{name}.py"
        runner.write_text(RUNNER.format(extra_ns=extra_ns))
        log = self.folder / f"{name}.log"
        return Subject(
            name=name,
            launch=lambda: self.device.open(Path(harness.__file__), log=log),
            runner=self.device.push(runner),
            artifact=self.device.push(self.model),
            feeds=self.device.push(self.feeds),
        )
