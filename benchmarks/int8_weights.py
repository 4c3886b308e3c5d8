"""The ways to write int8 weights for ONNX Runtime, side by side on this processor.

Usage: python benchmarks/int8_weights.py [--models NAME ...]

Prints, for each model and way, the time of one inference over that of 7-bit weights, with its interval over launches,
and the signal-to-noise ratio against the Keras model. On an x86 processor without VNNI, 8-bit weights overflow.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import closing
from pathlib import Path

from peer_models import CALIBRATION
from peers import PREPARE, REFERENCE, Candidate, find_sqnr_db, run_script, write_evaluation

from edgeopt.devices.local import LocalDevice
from edgeopt.measure import harness, stats, verdicts
from edgeopt.measure.process import Subject
from edgeopt.measure.session import Session, Settings
from edgeopt.registry import find_backends

MODELS = ("MobileNetV2", "ResNet50", "LSTM")
BASE = "7-bit weights"
WAYS = {
    BASE: ("QUInt8", "QInt8", True),
    "8-bit weights": ("QUInt8", "QInt8", False),
    "unsigned by unsigned": ("QUInt8", "QUInt8", False),
    "signed by signed": ("QInt8", "QInt8", True),
}
WIDENED = "8-bit weights, widened by the session"
MAKE = """
import json, sys
from pathlib import Path
import numpy as np
from edgeopt.source.choice import resolve_source
from edgeopt.source.model import open_source
from edgeopt_onnxruntime.conversion import make_float_file
from edgeopt_onnxruntime.quantization import Feeding, prepare
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
model, data, folder, count, ways = sys.argv[1:]
source = open_source(resolve_source(model), Path(folder, "run"))
with np.load(data) as arrays:
    feeds = [{name: arrays[name][n : n + 1] for name in arrays.files} for n in range(int(count))]
prepared = Path(folder, "prepared.onnx")
prepare(make_float_file(source, feeds, lambda text: None), prepared)
for name, (activations, weights, reduced) in json.loads(ways).items():
    quantize_static(
        str(prepared), str(Path(folder, f"{name}.onnx")), Feeding(feeds), quant_format=QuantFormat.QDQ,
        per_channel=True, reduce_range=reduced, activation_type=QuantType[activations], weight_type=QuantType[weights],
    )
"""
WIDENING = """
import importlib.util
spec = importlib.util.spec_from_file_location("plain", {runner!r})
plain = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plain)

def load(path, threads):
    return plain.Model(path, threads, {{"session.x64quantprecision": "1"}})
"""


def make(model: str, folder: Path) -> list[Candidate]:
    """Write every file of a model and return them with what runs them."""
    file, data = folder / f"{model}.keras", folder / "feeds.npz"
    for script, arguments in (
        (PREPARE, (Path(__file__).parent, model, folder)),
        (REFERENCE, (file, data, CALIBRATION, folder / "reference.npy")),
        (MAKE, (file, data, folder, CALIBRATION, json.dumps(WAYS))),
    ):
        if wrong := run_script(script, *arguments):
            raise SystemExit(wrong)
    write_evaluation(data, folder)
    runner = Path(find_backends().get("onnxruntime").backend.runner)
    widening = folder / "widening.py"
    widening.write_text(WIDENING.format(runner=str(runner)))
    made = [Candidate(name, runner, folder / f"{name}.onnx") for name in WAYS]
    return [*made, Candidate(WIDENED, widening, folder / "8-bit weights.onnx")]


def compare(model: str, folder: Path) -> None:
    """Time all files of a model in one session and print a row for each."""
    import numpy as np

    made = make(model, folder)
    reference = np.load(folder / "reference.npy")
    with closing(LocalDevice()) as device:
        sqnr_db = {one.name: find_sqnr_db(one, device, folder, reference) for one in made}
        subjects = [
            Subject(
                one.name,
                lambda: device.open(Path(harness.__file__), log=folder / "log"),
                str(one.runner),
                str(one.main),
                str(folder / "evaluation"),
            )
            for one in made
        ]
        session = Session(subjects, Settings(seconds=4, min_launches=6))
        found = session.run()
    for one in made:
        speedup = verdicts.compare(found[BASE], found[one.name], session.design)
        if speedup is None or speedup.ci95 is None:
            continue
        low, high = speedup.ci95
        median_ms = 1e3 * stats.summarise(found[one.name]).median_s
        ratio = f"{speedup.ratio:.3f} ({low:.3f} to {high:.3f})"
        print(f"{model:12} {one.name:38} {median_ms:8.3f} ms  {ratio:24} {sqnr_db[one.name]:6.1f} dB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="*", default=MODELS)
    with closing(LocalDevice()) as device:
        facts = device.facts()
    print(f"{facts.cpu}, 8-bit features: {facts.details.get('int8_features', 'unknown')}")
    for model in parser.parse_args().models:
        with tempfile.TemporaryDirectory() as folder:
            compare(model, Path(folder))


if __name__ == "__main__":
    main()
