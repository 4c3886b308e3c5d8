"""Our artifacts beside what each peer's own recommended script makes, in one session, on the same feeds.

Usage: python benchmarks/peers.py [--models NAME ...] [--tools NAME ...] [--json FILE]

For each model and tool, in float32 and int8: our time over the peer's, with its interval over launches, and both
SQNRs against the Keras model. Ours must take at most 1.02x the peer's time and be as true; and what `--rank` picks
must not be slower than the best of all peers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from peer_models import CALIBRATION, NAMES

import edgeopt
from edgeopt.artifact import read_manifest
from edgeopt.devices.local import LocalDevice
from edgeopt.measure import harness, stats, verdicts
from edgeopt.measure.process import Subject
from edgeopt.measure.session import Session, Settings
from edgeopt.pipeline.evaluating import read_outputs
from edgeopt.registry import find_backends

if TYPE_CHECKING:
    from edgeopt.measure.measurement import Measurement

Row: TypeAlias = dict[str, Any]
LIMIT, AS_TRUE_DB = 1.02, 0.5
PEERS = Path(__file__).with_name("peer_scripts")
TOOLS = {
    "tflite": (PEERS / "litert.py", "tflite-float32", "tflite-int8"),
    "onnxruntime": (PEERS / "onnx_runtime.py", "onnx-float32", "onnx-int8"),
    "openvino": (PEERS / "openvino_tool.py", "openvino-float32", "openvino-int8"),
}
PREPARE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from peer_models import build
build(sys.argv[2], Path(sys.argv[3]))
"""
MAKE = """
import importlib.util, json, sys
from pathlib import Path
import numpy as np
script, saved_model, data, folder, count, int8 = sys.argv[1:]
spec = importlib.util.spec_from_file_location("peer", script)
peer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(peer)
with np.load(data) as arrays:
    named = {name: arrays[name] for name in arrays.files}
feeds = [{name: array[n : n + 1] for name, array in named.items()} for n in range(int(count))]
made = peer.make(saved_model, feeds, Path(folder), int8 == "yes")
Path(folder, "made.json").write_text(json.dumps(str(made)))
"""


@dataclass(frozen=True)
class Candidate:
    """One file that can be run: whose, for which tool and number format."""

    name: str
    runner: Path
    main: Path


def run_script(script: str, *arguments: object) -> str:
    """Run a piece of Python in a process of its own and return what went wrong, nothing when all is well."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stderr.strip().splitlines() or ["no message"])[-1] if done.returncode else ""


def make_ours(model: Path, data: Path, folder: Path, targets: list[str]) -> tuple[list[Candidate], edgeopt.Run]:
    """Export with edgeopt and return what it made, with the run that also ranked it."""
    run = edgeopt.export(model, targets, data=data, out=folder / "dist", rank=True, min_sqnr_db=0.0)
    made = []
    for row in run.results[1:]:
        if row.error is not None:
            print(f"  {row.target}: {row.error.message}")
            continue
        main = Path(row.artifact.path) / read_manifest(Path(row.artifact.path))["main"]
        made.append(Candidate(row.target, Path(find_backends().get(row.backend).backend.runner), main))
    return made, run


def make_theirs(folder: Path, data: Path, tools: list[str]) -> list[Candidate]:
    """Let each peer's own script make its two files."""
    made = []
    for tool in tools:
        script, *targets = TOOLS[tool]
        for target, int8 in zip(targets, ("no", "yes"), strict=True):
            place = folder / f"peer-{target}"
            place.mkdir()
            wrong = run_script(MAKE, script, folder / "saved_model", data, place, CALIBRATION, int8)
            if wrong:
                print(f"  the peer's {target} cannot be made: {wrong[:150]}")
            else:
                made.append(Candidate(f"peer {target}", script, Path(json.loads((place / "made.json").read_text()))))
    return made


def find_sqnr_db(candidate: Candidate, device: LocalDevice, folder: Path, reference: Any) -> float | None:
    """Return how true a file is on the evaluation feeds."""
    import numpy as np

    out = folder / "outputs" / candidate.name.replace(" ", "-")
    with device.open(Path(harness.__file__), log=folder / "log") as channel:
        loading = {"op": "load", "runner": str(candidate.runner), "artifact": str(candidate.main), "threads": 1}
        for message in (loading, {"op": "evaluate", "feeds": str(folder / "evaluation"), "out": str(out)}):
            answer = channel.ask(message, 600)
            if "error" in answer:
                print(f"  {candidate.name}: {answer['error']['message'][:150]}")
                return None
    (found,) = read_outputs(out).values()
    noise = float(np.sum((found.reshape(reference.shape) - reference) ** 2))
    return float("inf") if not noise else float(10 * np.log10(np.sum(reference**2) / noise))


REFERENCE = """
import sys
import keras, numpy as np
model = keras.saving.load_model(sys.argv[1], compile=False)
(name,) = np.load(sys.argv[2]).files
with np.load(sys.argv[2]) as arrays:
    feeds = arrays[name][int(sys.argv[3]):]
np.save(sys.argv[4], np.concatenate([np.asarray(model(feeds[n:n + 1], training=False)) for n in range(len(feeds))]))
"""


def write_evaluation(data: Path, folder: Path) -> None:
    """Write the feeds that nobody was calibrated on, as the harness reads them."""
    import numpy as np

    place = folder / "evaluation"
    place.mkdir()
    with np.load(data) as arrays:
        (name,) = arrays.files
        feeds = arrays[name][CALIBRATION:]
    np.save(place / "0.npy", feeds)
    (place / "index.json").write_text(json.dumps({"inputs": {name: "0.npy"}, "count": len(feeds), "batch": 1}))


def compare(model: str, tools: list[str], folder: Path) -> list[Row]:
    """Set everything about one model side by side and return one row per tool and number format."""
    import numpy as np

    if wrong := run_script(PREPARE, Path(__file__).parent, model, folder):
        raise SystemExit(wrong)
    file, data = folder / f"{model}.keras", folder / "feeds.npz"
    ours, run = make_ours(file, data, folder, [target for tool in tools for target in TOOLS[tool][1:]])
    theirs = make_theirs(folder, data, tools)
    write_evaluation(data, folder)
    if wrong := run_script(REFERENCE, file, data, CALIBRATION, folder / "reference.npy"):
        raise SystemExit(wrong)
    reference = np.load(folder / "reference.npy")
    with closing(LocalDevice()) as device:
        sqnr = {c.name: find_sqnr_db(c, device, folder, reference) for c in (*ours, *theirs)}

        def subject(candidate: Candidate) -> Subject:
            return Subject(
                candidate.name,
                lambda: device.open(Path(harness.__file__), log=folder / "log"),
                str(candidate.runner),
                str(candidate.main),
                str(folder / "evaluation"),
            )

        candidates = [c for c in (*ours, *theirs) if sqnr[c.name] is not None]
        session = Session([subject(c) for c in candidates], Settings(seconds=4, min_launches=6, rank=True))
        found = session.run()
    return [*_rows(model, tools, found, session.design, sqnr), *_pick(model, run, found, session.design)]


def _rows(
    model: str, tools: list[str], found: dict[str, Measurement], design: verdicts.Design, sqnr: dict[str, float | None]
) -> list[Row]:
    """Return ours beside the peer's, for each tool and number format."""
    rows = []
    for target in (target for tool in tools for target in TOOLS[tool][1:]):
        ours, peer = found.get(target), found.get(f"peer {target}")
        row: Row = {
            "model": model,
            "target": target,
            "sqnr_db": sqnr.get(target),
            "peer_sqnr_db": sqnr.get(f"peer {target}"),
        }
        for who, measurement in (("median_s", ours), ("peer_median_s", peer)):
            latency = stats.summarise(measurement) if measurement else None
            row[who] = latency.median_s if latency else None
        speedup = (
            verdicts.compare(peer, ours, design) if ours and peer else None
        )  # the ratio is our time over the peer's
        if speedup is not None and speedup.ci95 is not None:
            row |= {"ratio": speedup.ratio, "ci95": speedup.ci95}
            as_true = row["sqnr_db"] >= min(row["peer_sqnr_db"], 60) - AS_TRUE_DB
            row["met"] = speedup.ci95[0] <= LIMIT and as_true
        rows.append(row)
    return rows


def _pick(model: str, run: edgeopt.Run, found: dict[str, Measurement], design: verdicts.Design) -> list[Row]:
    """Return what `--rank` picked beside the fastest file of any peer."""
    peers = {name: stats.summarise(m) for name, m in found.items() if name.startswith("peer ")}
    fastest = min((name for name in peers if peers[name]), key=lambda name: peers[name].median_s, default=None)
    best = run.ranking.best if run.ranking else None
    if fastest is None or best not in found:
        return []
    speedup = verdicts.compare(found[fastest], found[best], design)
    if speedup is None or speedup.ci95 is None:
        return []
    return [
        {"model": model, "target": f"pick: {best}", "peer": fastest, "ratio": speedup.ratio, "ci95": speedup.ci95,
         "met": speedup.ci95[0] <= LIMIT}
    ]  # fmt: skip


def show(row: Row) -> None:
    """Print one row."""
    times, truth = (
        " ".join(f"{format(row[key] * scale, form) if row.get(key) is not None else '-':>{width}}" for key in keys)
        for keys, scale, form, width in (
            (("median_s", "peer_median_s"), 1e3, ".3f", 9),
            (("sqnr_db", "peer_sqnr_db"), 1, ".1f", 6),
        )
    )
    ratio = "-"
    if "ratio" in row:
        ratio = f"{row['ratio']:.3f} ({row['ci95'][0]:.3f} to {row['ci95'][1]:.3f})"
    verdict = {True: "met", False: "NOT MET", None: "-"}[row.get("met")]
    print(
        f"{row['model']:18} {row['target']:22} {times} {truth}  {ratio:24} {verdict} {row.get('peer', '')}", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="*", default=NAMES)
    parser.add_argument("--tools", nargs="*", default=list(TOOLS))
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    print(f"{'model':18} {'target':22} {'ours ms':>9} {'peer ms':>9} {'ours':>6} {'peer':>6} dB  ours over peer")
    rows = []
    for model in wanted.models:
        with tempfile.TemporaryDirectory() as folder:
            for row in compare(model, wanted.tools, Path(folder)):
                rows.append(row)
                show(row)
    if wanted.json:
        wanted.json.write_text(json.dumps(rows, indent=1) + "\n")
    if any(row.get("met") is False for row in rows):
        raise SystemExit(f"a file of ours takes more than {LIMIT}x the peer's time, or is less true")


if __name__ == "__main__":
    main()
