"""How long it takes from the command to the table, beside a bare script that times nothing.

Usage: python benchmarks/time_to_table.py [--rounds N]

The bare script loads the embedded demo, quantizes it on the same feeds as edgeopt, lets model and file answer the
evaluation feeds, and stops. It and each command take turns, so that noise hits all alike. Printed are the seconds of
the fastest turn of each, their ratio to the bare script, and what the seconds of that turn went into, from the lines on
standard error.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from edgeopt.source.choice import DEMO

BARE = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "1"
import numpy as np
import tensorflow as tf
import keras
from ai_edge_litert.interpreter import Interpreter

path, folder = sys.argv[1:]
model = keras.saving.load_model(path, compile=False)
calibration, evaluation = (np.load(f"{folder}/{name}.npz") for name in ("calibration", "evaluation"))
samples, images = (data[data.files[0]].astype("float32") for data in (calibration, evaluation))
samples, images = (array.reshape(-1, *model.inputs[0].shape[1:]) for array in (samples, images))
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
content = converter.convert()
open("model.tflite", "wb").write(content)
wanted = model.predict(images, verbose=0).argmax(-1)
interpreter = Interpreter(model_content=content, num_threads=1)
interpreter.allocate_tensors()
source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
agree = 0
for image, label in zip(images, wanted):
    interpreter.set_tensor(source, image[None])
    interpreter.invoke()
    agree += int(interpreter.get_tensor(target).argmax() == label)
print(agree, "of", len(images))
"""
THREE = "tflite-int8,saved-without-optimizer,tf-gpu"
COMMANDS = {
    "one target, --no-timing": (["-t", "tflite-int8", "--no-timing"], 1.2),
    "one target": (["-t", "tflite-int8"], 2.0),
    "three targets": (["-t", THREE], 3.0),
    "all targets": (["-t", "all"], 6.0),
}
"""What is asked of `edgeopt export`, and the goal: at most so many times the bare script."""
PHASES = (
    (re.compile(r"^model: opened"), "import TensorFlow, open the model"),
    (re.compile(r"^measuring "), "export, answer"),
    (re.compile(r"^.+: measured$"), "measure"),
)
"""The last line that tells of each phase."""


@dataclass(frozen=True)
class Turn:
    """One run of a command: how long it took, and when each of its lines came."""

    seconds: float
    lines: tuple[tuple[float, str], ...] = ()

    @property
    def phases(self) -> dict[str, float]:
        """The seconds of each phase, in order."""
        found, before = {}, 0.0
        for line, phase in PHASES:
            times = [at for at, text in self.lines if line.search(text)]
            if times:
                found[phase] = times[-1] - before
                before = times[-1]
        return {**found, "the rest": self.seconds - before}


def run(argv: list[str]) -> Turn:
    """Run a command in an empty folder and return how it went."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        process = subprocess.Popen(
            argv, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        lines = tuple((time.perf_counter() - begin, line.rstrip()) for line in process.stderr or ())
        code = process.wait()
        seconds = time.perf_counter() - begin
    if code:
        raise SystemExit(f"{argv} ended with {code}:\n" + "\n".join(text for _, text in lines))
    return Turn(seconds, lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    commands = {
        "bare script": [sys.executable, "-c", BARE, str(DEMO), str(Path(DEMO).parent)],
        **{name: [sys.executable, "-m", "edgeopt", "export", *asked] for name, (asked, _) in COMMANDS.items()},
    }
    fastest: dict[str, Turn] = {}
    for _ in range(rounds):
        for name, argv in commands.items():
            turn = run(argv)
            fastest[name] = min(fastest.get(name, turn), turn, key=lambda one: one.seconds)
    bare_s = fastest["bare script"].seconds
    missed = 0
    for name, turn in fastest.items():
        goal = COMMANDS[name][1] if name in COMMANDS else 1.0
        missed += turn.seconds / bare_s > goal
        print(f"{name}: {turn.seconds:.1f} s, {turn.seconds / bare_s:.2f} times the bare script, goal {goal:g}")
        if name in COMMANDS:
            print("   " + "; ".join(f"{phase} {seconds:.1f} s" for phase, seconds in turn.phases.items()))
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main())
