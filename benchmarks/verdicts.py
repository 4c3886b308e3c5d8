"""How often the verdict on two artifacts is right: equal copies, and copies made 2 % and 3 % slower on purpose.

    python benchmarks/verdicts.py --runs 100

One run measures one pair of each kind as `edgeopt export` does. Every result is appended to a journal at once, and
what is in the journal is not measured again, so the benchmark can be interrupted and resumed. `--record FOLDER` keeps
samples of 8 launches side by side instead, for the tests.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from specimen import Specimen

from edgeopt.devices.local import LocalDevice
from edgeopt.measure import stats
from edgeopt.measure.session import MAX_LAUNCHES, Session, Settings

PAIRS = {"equal": (0.00, "same", 0.99), "2 % slower": (0.02, "slower", 0.90), "3 % slower": (0.03, "slower", 0.99)}
"""By kind of pair: the part of the latency that the copy spins for, the right verdict, how often it must be found."""
MEASURING_S = 5.0
RECORDED_ROUNDS = 20
RECORDED_UNIT_NS = 100


def measure_pair(specimen: Specimen, extra_ns: int, seed: int) -> dict[str, object]:
    """Measure a plain copy and one that is slower by `extra_ns`; return the verdict and what it took."""
    begin = time.perf_counter()
    subjects = [specimen.subject("source"), specimen.subject("copy", extra_ns)]
    found = Session(subjects, Settings(seed=seed), source="source").run()
    wall_s = time.perf_counter() - begin
    source, copy = found["source"], found["copy"]
    if source.error or copy.error:
        raise SystemExit(f"the pair could not be measured: {found}")
    speedup = stats.compare(copy, source)
    latencies = [stats.summarise(measurement) for measurement in (source, copy)]
    if speedup is None or None in latencies:
        raise SystemExit("nothing was timed")
    return {
        "verdict": speedup.verdict,
        "ratio": speedup.ratio,
        "launches": len(source.launches),
        "measuring_s": sum(sum(latency.samples_s) for latency in latencies if latency),
        "wall_s": wall_s,
    }


def find_latency_ns(specimen: Specimen) -> float:
    """Return the undisturbed latency of the plain copy; a busy machine's median would make the slow ones slower."""
    found = Session([specimen.subject("source")], Settings()).run()["source"]
    latency = stats.summarise(found)
    if latency is None:
        raise SystemExit(f"the artifact could not be measured: {found}")
    return stats.quantile(sorted(latency.samples_s), stats.QUIET_SHARE) * 1e9


def print_table(results: dict[str, list[dict[str, object]]]) -> bool:
    """Print how often each kind of pair was judged right, and return whether that is often and quick enough."""
    print(f"{'pair':11} {'runs':>5} {'right':>7} {'wanted':>7} {'launches':>9} {'measuring':>16} {'wall':>7}  ratios")
    fine = True
    for kind, (_, verdict, wanted) in PAIRS.items():
        runs = results[kind]
        right = sum(run["verdict"] == verdict for run in runs) / len(runs)
        launches = statistics.fmean(run["launches"] for run in runs)
        seconds = sorted(run["measuring_s"] for run in runs)
        ratios = sorted(run["ratio"] for run in runs)
        wall_s = statistics.median(run["wall_s"] for run in runs)
        measuring = f"{statistics.median(seconds):.1f} s, max {seconds[-1]:.1f} s"
        print(f"{kind:11} {len(runs):5} {right:7.1%} {wanted:7.0%} {launches:9.1f} {measuring:>16}", end=" ")
        print(f"{wall_s:5.1f} s  {ratios[0]:.4f} to {ratios[-1]:.4f}")
        fine = fine and right >= wanted and seconds[-1] <= MEASURING_S
    return fine


def record(specimen: Specimen, folder: Path, latency_ns: float, seed: int) -> None:
    """Measure the source and all copies in one session of all launches, and keep the samples for the tests."""
    copies = [specimen.subject(kind, round(latency_ns * extra)) for kind, (extra, _, _) in PAIRS.items()]
    settings = Settings(seed=seed, min_launches=MAX_LAUNCHES)
    found = Session([specimen.subject("source"), *copies], settings, source="source").run()
    samples = {}
    for name, measurement in found.items():
        if measurement.error:
            raise SystemExit(f"{name} could not be measured: {measurement}")
        samples[name] = [
            [[round(ns / RECORDED_UNIT_NS) for ns in chunk] for chunk in launch.rounds[:RECORDED_ROUNDS]]
            for launch in measurement.launches
        ]
    folder.mkdir(parents=True, exist_ok=True)
    facts, health = specimen.device.facts(), specimen.device.health()
    where = {"cpu": facts.cpu, "cores": facts.cores, "load_average": health.load_average, "runtimes": facts.runtimes}
    document = {"device": where, "unit_ns": RECORDED_UNIT_NS, "samples": samples}
    (folder / f"{seed:02}.json").write_text(json.dumps(document, separators=(",", ":")) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--journal", type=Path, default=Path(tempfile.gettempdir()) / "edgeopt-verdicts.jsonl")
    parser.add_argument("--record", type=Path, help="write samples for the tests into this folder instead")
    wanted = parser.parse_args()
    results: dict[str, list[dict[str, object]]] = {kind: [] for kind in PAIRS}
    if wanted.journal.exists() and not wanted.record:
        for line in wanted.journal.read_text("utf-8").splitlines():
            result = json.loads(line)
            results[result["pair"]].append(result)
    device = LocalDevice()
    with tempfile.TemporaryDirectory() as folder:
        try:
            specimen = Specimen(Path(folder), device)
            latency_ns = find_latency_ns(specimen)
            for seed in range(wanted.runs if wanted.record else 0):
                record(specimen, wanted.record, latency_ns, seed)
            while not wanted.record and len(results["3 % slower"]) < wanted.runs:
                for kind, (extra, _, _) in PAIRS.items():
                    seed = len(results[kind])
                    if seed >= wanted.runs:
                        continue
                    result = {"pair": kind, **measure_pair(specimen, round(latency_ns * extra), seed)}
                    results[kind].append(result)
                    with wanted.journal.open("a", encoding="utf-8") as journal:
                        journal.write(json.dumps(result) + "\n")
        finally:
            device.close()
    if not wanted.record and not print_table(results):
        raise SystemExit("not often enough, or not quickly enough")


if __name__ == "__main__":
    main()
