"""What a link costs: a profile over ssh beside the same one on this machine, and whether both tell the same time.

    python benchmarks/device_overhead.py [--device ssh://user@host --python PATH] [--pairs N] [--sessions N]

The board is this machine, behind an OpenSSH server on loopback: the stand-in of the tests, or one that is named; its
Python must have NumPy and ai-edge-litert.

Cost: the measuring time is the wall time of `edgeopt profile` on `local`, of one artifact of 4 MB. The same profile
over ssh is timed beside it, once with an empty work folder on the board, and once more when everything lies there.
Agreement: one session with two subjects, the same file with the same runner and Python, one started on `local` and one
over ssh.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from specimen import Specimen

from edgeopt.devices import open_device
from edgeopt.devices.ssh import COMMAND_VARIABLE
from edgeopt.measure import stats
from edgeopt.measure.session import Session, Settings
from edgeopt.measure.verdicts import compare

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_S, AGAIN_S = 2.0, 1.0
"""What the link may add to a profile: when everything must be pushed, and when it lies there already."""
APART = 0.03
BOARD = "board"
WORKDIR = "/tmp/edgeopt-device-overhead"  # noqa: S108 - of the board; it is made with no rights for others
TARGET = "tflite-float32"
ARTIFACT_BYTES = 4_000_000
MAKE = """
import sys
import keras

keras.utils.set_random_seed(1)
convolve = lambda: keras.layers.Conv2D(240, 3, strides=2, padding="same", activation="relu")
layers = [keras.Input((64, 64, 3)), convolve(), convolve(), convolve()]
keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()]).save(sys.argv[1])
"""


def edgeopt(*arguments: str | Path) -> float:
    """Run one command of edgeopt and return how long it took, in seconds."""
    begin = time.perf_counter()
    ended = subprocess.run([sys.executable, "-m", "edgeopt", *arguments], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"edgeopt {shlex.join(map(str, arguments))} failed:\n{ended.stderr}")
    return time.perf_counter() - begin


def profile(artifact: Path, device: str) -> float:
    """Profile the artifact and return how long that took, in seconds; a profile that timed nothing is none."""
    seconds = edgeopt("profile", artifact, "--device", device)
    run = json.loads((artifact.parent / f"profile-{device}.json").read_text("utf-8"))
    if not all(result["latency"] for result in run["results"] if result["target"] == TARGET):
        raise SystemExit(f"the artifact was not timed on {device}")
    return seconds


def make_artifact(folder: Path) -> Path:
    """Export a model whose only file has 4 MB, and return the folder of the artifact."""
    with (folder / "make.log").open("wb") as log:
        subprocess.run([sys.executable, "-c", MAKE, str(folder / "net.keras")], stdout=log, stderr=log, check=True)
    edgeopt("export", folder / "net.keras", "--target", TARGET, "--out", folder / "dist")
    artifact = folder / "dist" / "net" / TARGET
    size = sum(file.stat().st_size for file in artifact.glob("*.tflite"))
    if size < ARTIFACT_BYTES:
        raise SystemExit(f"the artifact has only {size:,} bytes")
    return artifact


def measure_cost(artifact: Path, pairs: int) -> bool:
    """Print what ssh adds to a profile, and return whether that is little enough."""
    print(f"{'pair':>4} {'local':>8} {'first over ssh':>17} {'again':>17}")
    added: dict[str, list[float]] = {"first": [], "again": []}
    for number in range(pairs):
        edgeopt("devices", "clean", BOARD, "--yes")
        steps = [("local", "local"), ("first", BOARD), ("again", BOARD)]
        took = {name: profile(artifact, device) for name, device in (steps if number % 2 else steps[1:] + steps[:1])}
        for name, seconds in added.items():
            seconds.append(took[name] - took["local"])
        told = "".join(f"{took[name]:7.2f} s ({added[name][-1]:+.2f})" for name in added)
        print(f"{number + 1:4} {took['local']:6.2f} s {told}", flush=True)
    return all(
        [
            judge("added the first time", added["first"], FIRST_S),
            judge("added the second time", added["again"], AGAIN_S),
        ]
    )


def judge(what: str, seconds: list[float], limit_s: float) -> bool:
    """Print the median of some times beside its limit, and return whether it is met."""
    median = statistics.median(seconds)
    met = median <= limit_s
    print(f"{what}: {median:.2f} s ({min(seconds):.2f} to {max(seconds):.2f}); at most {limit_s:g} s: {in_words(met)}")
    return met


def in_words(met: bool) -> str:
    """Return how a limit came out."""
    return "met" if met else "NOT MET"


def measure_agreement(folder: Path, sessions: int) -> bool:
    """Print how far apart the two times of one artifact are, and return whether they agree in every session."""
    fine = True
    with closing(open_device()) as here, closing(open_device(BOARD)) as there:
        there.claim(print, 60)
        local, remote = Specimen(folder, here), Specimen(folder, there)
        for seed in range(sessions):
            subjects = [local.subject("local"), remote.subject("ssh")]
            session = Session(subjects, Settings(seconds=5, seed=seed), source="local")
            found = session.run()
            if error := found["local"].error or found["ssh"].error:
                raise SystemExit(f"it could not be measured: {error.message}")
            medians = [stats.summarise(found[name]).median_s * 1e3 for name in ("local", "ssh")]
            speedup = compare(found["ssh"], found["local"], session.design)
            met = abs(speedup.ratio - 1) < APART and speedup.verdict in ("same", "unclear")
            print(
                f"session {seed + 1}: local {medians[0]:.3f} ms, ssh {medians[1]:.3f} ms, ratio {speedup.ratio:.4f}"
                f" over {len(found['ssh'].launches)} launches, {speedup.verdict};"
                f" less than {APART:.0%} apart, and no verdict against either: {in_words(met)}",
                flush=True,
            )
            fine = fine and met
    return fine


def add_board(wanted: argparse.Namespace, folder: Path, stack: ExitStack) -> Callable[[], object]:
    """Give the board its name in a book of our own; return what removes that which was pushed to it."""
    uri, python = wanted.device, wanted.python
    if not uri:
        sys.path.insert(0, str(Path(__file__).parents[1]))
        from tests.standins.sshd import Sshd

        sshd = stack.enter_context(Sshd(folder / "sshd"))
        os.environ[COMMAND_VARIABLE] = shlex.join(["ssh", "-F", str(sshd.config)])
        uri, python = f"ssh://{sshd.alias}", sshd.python
    os.environ["EDGEOPT_CONFIG"] = str(folder / "config")
    edgeopt("devices", "add", BOARD, uri, "--python", python, "--workdir", WORKDIR)
    return lambda: edgeopt("devices", "clean", BOARD, "--yes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="", help="an ssh server on this machine; the stand-in of the tests if none")
    parser.add_argument("--python", default=sys.executable, help="the Python behind it")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--sessions", type=int, default=3)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        stack.callback(add_board(wanted, folder, stack))
        met = [
            measure_cost(make_artifact(folder), wanted.pairs),
            measure_agreement(folder / "specimen", wanted.sessions),
        ]
    if not all(met):
        raise SystemExit("a limit is not met")


if __name__ == "__main__":
    main()
