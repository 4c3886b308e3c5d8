"""What the harness adds to a latency: its median beside that of a bare loop over the same interpreter.

    python benchmarks/harness_overhead.py --launches 8

Both run in processes of their own and take turns, so that what disturbs the machine disturbs both. The bare loop is the
plainest thing that somebody would write by hand.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from specimen import Specimen

from edgeopt.devices.local import LocalDevice
from edgeopt.measure import stats

LIMIT = 0.01
ROUNDS = 60
ITERATIONS = 8
SETTLE = 1

BARE = """
import sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.load(sys.argv[2]))
for line in sys.stdin:
    for _ in range({settle}):
        interpreter.invoke()
    times = []
    for _ in range(int(line)):
        begin = time.perf_counter()
        interpreter.invoke()
        times.append(time.perf_counter() - begin)
    print(*times, flush=True)
"""


def compare_once(specimen: Specimen, launch: int) -> float:
    """Return the logarithm of harness over bare loop for one process of each."""
    subject = specimen.subject("harness")
    argv = [sys.executable, "-c", BARE.format(settle=SETTLE), str(specimen.model), str(specimen.feeds / "0.npy")]
    pipe = subprocess.PIPE
    with closing(subject.launch()) as channel, subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as bare:
        channel.ask({"op": "load", "runner": subject.runner, "artifact": subject.artifact, "threads": 1}, 60)
        channel.ask({"op": "feed", "feeds": subject.feeds}, 60)
        channel.ask({"op": "warm", "seconds": 1}, 60)

        def ask_harness() -> list[float]:
            answer = channel.ask({"op": "time", "iterations": ITERATIONS, "settle": SETTLE}, 60)
            return [ns / 1e9 for ns in answer["samples_ns"]]

        def ask_bare() -> list[float]:
            bare.stdin.write(f"{ITERATIONS}\n")
            bare.stdin.flush()
            return [float(second) for second in bare.stdout.readline().split()]

        samples: dict[object, list[float]] = {ask_harness: [], ask_bare: []}
        ask_bare()
        for number in range(ROUNDS):
            for ask in (ask_harness, ask_bare) if (number + launch) % 2 else (ask_bare, ask_harness):
                samples[ask] += ask()
        bare.stdin.close()
    return math.log(statistics.median(samples[ask_harness]) / statistics.median(samples[ask_bare]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--launches", type=int, default=12)
    wanted = parser.parse_args()
    device = LocalDevice()
    with tempfile.TemporaryDirectory() as folder:
        try:
            specimen = Specimen(Path(folder), device)
            effects = [compare_once(specimen, launch) for launch in range(wanted.launches)]
        finally:
            device.close()
    middle, half = stats.interval(effects)
    ratio, low, high = (math.exp(effect) for effect in (middle, middle - half, middle + half))
    print(f"harness / bare loop: {ratio:.4f} ({low:.4f} to {high:.4f}) over {len(effects)} launches of each")
    if abs(ratio - 1) > LIMIT:
        raise SystemExit(f"more than {LIMIT:.0%} apart")


if __name__ == "__main__":
    main()
