"""What edgeopt costs on top of a script written by hand, and what three targets cost beside the slowest one.

Usage: python benchmarks/export_overhead.py [MODEL] [--pairs N]

Both sides start in a process of their own, import TensorFlow, load the model, freeze its batch, convert it to float32,
check that file on two feeds, calibrate on the same feeds and quantize. They take turns, so that noise hits both alike.
The export alone is timed, without running the artifact afterwards.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from edgeopt.data import noise_feeds
from edgeopt.devices.local import LocalDevice
from edgeopt.pipeline.exporting import Exported, Workers
from edgeopt.pipeline.plan import make_plan
from edgeopt.pipeline.request import ExportSettings, Silence
from edgeopt.pipeline.workspace import Workspace
from edgeopt.source.choice import resolve_source
from edgeopt.targets import choose, find_targets

BY_HAND = """
import json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "1"
import numpy as np
import tensorflow as tf
import keras
from ai_edge_litert.interpreter import Interpreter
from litert_quantizer import Quantizer, qtyping, recipe
from litert_quantizer.calibrator import CalibrationMode, Calibrator
from litert_quantizer.recipe_manager import RecipeManager
from litert_quantizer.utils.qsv_utils import min_max_update

path, feeds, out = sys.argv[1:]
model = keras.saving.load_model(path, compile=False)
shape = (1, *model.inputs[0].shape[1:])
name = model.inputs[0].name.split(":")[0]
function = tf.function(lambda **x: {"out": model(x[name], training=False)}, autograph=False)
concrete = function.get_concrete_function(**{name: tf.TensorSpec(shape, tf.float32, name=name)})
module = tf.Module()
module.held = [variable.value for variable in model.weights]
tf.saved_model.save(module, out + "/saved", signatures=concrete)
float_file = tf.lite.TFLiteConverter.from_saved_model(out + "/saved").convert()
index = json.load(open(feeds + "/index.json"))
array = np.load(feeds + "/" + index["inputs"][name])
samples = [{name: array[i : i + 1]} for i in range(len(array))]
interpreter = Interpreter(model_content=float_file, num_threads=1)
run = interpreter.get_signature_runner("serving_default")
for sample in samples[:2]:
    wanted = concrete(tf.constant(sample[name]))["out"].numpy()
    assert np.abs(run(**sample)["out"] - wanted).max() <= 1e-3 * np.abs(wanted).max()
quantizer = Quantizer(float_file, recipe.static_wi8_ai8())
for border in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
    quantizer.update_quantization_recipe(".*", border, algorithm_key="no_quantize")
calibrator = Calibrator(
    float_file,
    num_threads=os.cpu_count(),
    mode=CalibrationMode.CALIBRATION_PROFILER_BASED,
    qsv_update_func=min_max_update,
)
calibrator.calibrate({"serving_default": samples}, RecipeManager())
result = quantizer.quantize(calibrator.get_model_qsvs(), enable_progress_bar=False, enable_progress_report=False)
open(out + "/model.tflite", "wb").write(result.quantized_model)
"""
THREE = ("tflite-int8", "tflite-float32", "saved-without-optimizer")


def by_hand(model: Path, feeds: Path) -> float:
    """Seconds that the script takes, and that it left a file."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", BY_HAND, model, feeds, folder], check=True, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - begin
        assert (Path(folder) / "model.tflite").stat().st_size > 0  # noqa: S101 - a benchmark of nothing is none
    return seconds


def by_edgeopt(model: Path, feeds: Path, targets: tuple[str, ...]) -> float:
    """Seconds that edgeopt takes for the same, from the start of the worker to the last checked artifact."""
    choice = resolve_source(str(model))
    settings = ExportSettings(jobs=1)
    plans = make_plan(choose(targets, find_targets()), ())
    with tempfile.TemporaryDirectory() as folder, Workspace.create(Path(folder), choice.name) as workspace:
        begin = time.perf_counter()
        with closing(LocalDevice()) as host, closing(Workers(choice, workspace, settings, Silence(), host)) as workers:
            workers.open_model()
            outcomes = dict(workers.export(plans, feeds, lambda _: None))
            seconds = time.perf_counter() - begin
        for outcome in outcomes.values():
            if not isinstance(outcome, Exported):
                raise outcome
    return seconds


def prepare(model: Path, folder: Path) -> Path:
    """Write the calibration feeds that both sides use."""
    choice = resolve_source(str(model))
    with (
        Workspace.create(folder, choice.name) as workspace,
        closing(LocalDevice()) as host,
        closing(Workers(choice, workspace, ExportSettings(), Silence(), host)) as workers,
    ):
        opened = workers.open_model()
    return noise_feeds(opened.inputs, opened.ranges, folder).calibration


def main() -> None:
    """Run both sides in turn and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=Path("edgeopt/source/demo/demo.keras"))
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        feeds = prepare(arguments.model, Path(folder))
        hand, ours, three, single = [], [], [], {name: [] for name in THREE}
        for number in range(arguments.pairs):
            hand.append(by_hand(arguments.model, feeds))
            ours.append(by_edgeopt(arguments.model, feeds, ("tflite-int8",)))
            three.append(by_edgeopt(arguments.model, feeds, THREE))
            for name in THREE[1:]:
                single[name].append(by_edgeopt(arguments.model, feeds, (name,)))
            print(f"pair {number + 1}: by hand {hand[-1]:.2f} s, edgeopt {ours[-1]:.2f} s, three {three[-1]:.2f} s")
    single["tflite-int8"] = ours
    slowest = max(statistics.median(times) for times in single.values())
    ratio = statistics.median(a / b for a, b in zip(ours, hand, strict=True))
    print(f"edgeopt / by hand, tflite-int8: {ratio:.3f} (aim: at most 1.05)")
    print(f"three targets / the slowest of them: {statistics.median(three) / slowest:.3f} (aim: at most 1.5)")


if __name__ == "__main__":
    main()
