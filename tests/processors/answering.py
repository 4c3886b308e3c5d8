"""Runs artifacts on the device that it was pushed to, and writes their answers; asked by JSON lines, as a harness."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np


def answer(folder, case, out):
    """Let one case answer its feeds."""
    spec = importlib.util.spec_from_file_location("runner", folder / case["runner"])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.load(str(folder / case["artifact"]), 1)
    for number in range(case["feeds"]):
        model.feed(dict(np.load(folder / case["model"] / f"{number}.npz")))
        model.invoke()
        np.savez(out / f"{case['name']}-{number}.npz", **model.outputs())


def answer_all(folder, out):
    """Let every case of a folder answer; one that fails leaves its reason."""
    for case in json.loads((folder / "cases.json").read_text()):
        try:
            answer(folder, case, out)
        except Exception as error:  # noqa: BLE001, PERF203 - whatever it is, it is the answer
            (out / f"{case['name']}.error").write_text(repr(error))


for line in sys.stdin:
    asked = json.loads(line)
    there = Path(asked["out"])
    there.mkdir(parents=True, exist_ok=True)
    answer_all(Path(asked["folder"]), there)
    sys.stdout.write('{"done": true}\n')
    sys.stdout.flush()
