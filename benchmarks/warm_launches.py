"""Whether a process that is forked from a warm parent has latency and memory of one that was started by itself.

Usage: python benchmarks/warm_launches.py [--parents N] [--seconds S]

One session measures the embedded demo's source side by side in processes of their own and in processes forked from
several parents, 20 launches of each. Printed are, against the first that was started by itself, the ratio of each with
its 95 % interval, and how far the parents lie apart: what launches of one parent have in common would not be in the
interval of a run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from edgeopt.data import demo_feeds
from edgeopt.devices.local import LocalDevice
from edgeopt.measure import harness
from edgeopt.measure.process import Subject
from edgeopt.measure.session import Session, Settings
from edgeopt.measure.verdicts import compare
from edgeopt.source.choice import RUNNER, RUNNER_REQUIRES, resolve_source
from edgeopt.source.model import open_source

if TYPE_CHECKING:
    from edgeopt.devices.channel import Channel

OWN = "own"
OWN_PROCESSES = 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parents", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5.0)
    asked = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        source = open_source(resolve_source(None), folder / "run")
        feeds = demo_feeds(source.inputs, folder / "feeds").evaluation

        def subject(name: str, device: LocalDevice, requires: tuple[str, ...]) -> Subject:
            def launch() -> Channel:
                return device.open(Path(harness.__file__), log=folder / "log", requires=requires)

            return Subject(name, launch, str(RUNNER), str(source.saved_model()), str(feeds))

        machines = [stack.enter_context(closing(LocalDevice())) for _ in range(asked.parents)]
        subjects = [subject(f"{OWN} {number}", machines[0], ()) for number in range(OWN_PROCESSES)]
        subjects += [subject(f"parent {n}", machine, RUNNER_REQUIRES) for n, machine in enumerate(machines)]
        # So many launches of each, however soon a verdict is clear.
        settings = Settings(seconds=asked.seconds, min_launches=20)
        session = Session(subjects, settings, source=f"{OWN} 0")
        found = session.run()
    ratios = {}
    for name, measurement in sorted(found.items()):
        peak = max(launch.peak_bytes or 0 for launch in measurement.launches)
        speedup = compare(measurement, found[f"{OWN} 0"], session.design)
        if speedup is not None:
            ratios[name] = speedup.ratio
            low, high = speedup.ci95
            print(f"{name}: {speedup.ratio:.4f} ({low:.4f} to {high:.4f}), {speedup.verdict}, {peak / 1e6:.0f} MB")
    parents = [ratio for name, ratio in ratios.items() if name.startswith("parent")]
    print(f"the parents lie {statistics.stdev(parents):.2%} apart (standard deviation)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
