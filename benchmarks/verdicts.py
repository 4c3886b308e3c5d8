"""How often the verdict on two artifacts is right: equal copies, and copies made slower on purpose by a known factor.

    python benchmarks/verdicts.py --runs 100                              on this machine
    python benchmarks/verdicts.py --simulate tests/measure/recorded       from recorded launches

One run measures one pair of each kind as `edgeopt export` does. Every result is appended to a journal at once, and
what is in the journal is not measured again, so the benchmark can be interrupted and resumed. `--record FOLDER` keeps
the samples of sessions of equal copies, for the simulation and the tests. `--neighbour` keeps a third of every core
busy meanwhile.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from neighbour import neighbour
from specimen import Specimen
from verdict_simulation import COPIES, VERDICTS, Rates, read_recordings, simulate, simulate_kept, wilson

from edgeopt.devices.local import LocalDevice
from edgeopt.measure import stats
from edgeopt.measure.effects import QUIET_SHARE
from edgeopt.measure.session import Session, Settings
from edgeopt.measure.verdicts import MOST_LAUNCHES, compare

SECONDS = 5.0
"""For each artifact of a pair."""
MEASURING_S = 2 * SECONDS
"""Longest median time that the two artifacts of a pair may be timed for."""
RECORDED_ROUNDS = 60
RECORDED_UNIT_NS = 100
SIMULATED = 2000
MOST_WRONG = 0.01


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of pair: which verdicts are wrong, and how often the right one must be found."""

    slower: float
    wrong: tuple[str, ...]
    right: str
    wanted: float


KINDS = {
    "equal": Kind(0.0, ("faster", "slower"), "same", 0.0),
    "2 % slower": Kind(0.02, ("faster", "same"), "slower", 0.75),
    "3 % slower": Kind(0.03, ("faster", "same"), "slower", 0.90),
    "30 % slower": Kind(0.30, ("faster", "same", "unclear"), "slower", 1.0),
}


def measure_pair(specimen: Specimen, extra_ns: int, seed: int, seconds: float) -> dict[str, object]:
    """Measure a plain copy and one that is slower by `extra_ns`; return the verdict and what it took."""
    begin = time.perf_counter()
    subjects = [specimen.subject("source"), specimen.subject("copy", extra_ns)]
    session = Session(subjects, Settings(seconds=seconds, seed=seed), source="source")
    found = session.run()
    wall_s = time.perf_counter() - begin
    source, copy = found["source"], found["copy"]
    if source.error or copy.error:
        raise SystemExit(f"the pair could not be measured: {found}")
    speedup = compare(copy, source, session.design)
    latencies = [stats.summarise(measurement) for measurement in (source, copy)]
    if speedup is None or speedup.ci95 is None or None in latencies:
        raise SystemExit("nothing was timed")
    control = session.design.control
    return {
        "verdict": speedup.verdict,
        "ratio": speedup.ratio,
        "ci95": speedup.ci95,
        "within": speedup.within,
        "control": control and control.ratio,
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
    return stats.quantile(sorted(latency.samples_s), QUIET_SHARE) * 1e9


def print_table(results: dict[str, list[dict[str, object]]]) -> bool:
    """Print how each kind of pair was judged, and return whether that is right often and quickly enough."""
    print(f"{'pair':12} {'runs':>4} {'faster':>7} {'slower':>7} {'same':>5} {'unclear':>8}", end=" ")
    print(f"{'launches':>8} {'measuring':>16} {'wall':>7}  ratios")
    fine = True
    for name, kind in KINDS.items():
        if not (runs := results[name]):
            continue
        counts = {verdict: sum(run["verdict"] == verdict for run in runs) for verdict in VERDICTS}
        launches = statistics.fmean(run["launches"] for run in runs)
        seconds = sorted(run["measuring_s"] for run in runs)
        ratios = sorted(run["ratio"] for run in runs)
        wall_s = statistics.median(run["wall_s"] for run in runs)
        print(f"{name:12} {len(runs):4} {counts['faster']:7} {counts['slower']:7} {counts['same']:5}", end=" ")
        print(
            f"{counts['unclear']:8} {launches:8.1f} {statistics.median(seconds):5.1f} s, max {seconds[-1]:4.1f} s",
            end="",
        )
        print(f" {wall_s:5.1f} s  {ratios[0]:.4f} to {ratios[-1]:.4f}")
        is_wrong = sum(counts[verdict] for verdict in kind.wrong) / len(runs) > MOST_WRONG
        is_found = counts[kind.right] / len(runs) >= kind.wanted
        fine = fine and not is_wrong and is_found and statistics.median(seconds) <= MEASURING_S
    return fine


def print_simulated(folders: list[Path], seconds: float) -> bool:
    """Print how sessions end, by machine and true difference; return whether verdicts are right often enough."""
    print(f"{SIMULATED} simulated sessions each, --seconds {seconds:g}; 95 % intervals of the shares in brackets")
    headings = (*VERDICTS, "coverage")
    print(f"{'machine':14} {'pair':12}", *(f"{heading:>16}" for heading in headings), "launches")
    fine = True
    for folder in folders:
        recordings = read_recordings(folder)
        for name, kind in KINDS.items():
            rates = simulate(recordings, kind.slower, seconds=seconds, sessions=SIMULATED)
            _print_rates(folder.name, name, rates)
            fine = fine and rates.share(*kind.wrong) <= MOST_WRONG and rates.share(kind.right) >= kind.wanted
        _print_rates(folder.name, "equal, kept", simulate_kept(recordings, 0.0, sessions=SIMULATED))
    return fine


def _print_rates(machine: str, pair: str, rates: Rates) -> None:
    shares = [_share(rates.verdicts[verdict], rates) for verdict in VERDICTS]
    print(f"{machine:14} {pair:12} {' '.join(shares)} {_share(rates.covered, rates)} {rates.launches:8.1f}")


def _share(count: int, rates: Rates) -> str:
    low, high = wilson(count, rates.sessions)
    return f"{100 * count / rates.sessions:5.1f} ({100 * low:.1f}-{100 * high:.1f})".rjust(16)


def record(specimen: Specimen, folder: Path, seed: int) -> None:
    """Measure equal copies in one session, and keep the samples."""
    settings = Settings(seconds=SECONDS, seed=seed, min_launches=MOST_LAUNCHES)
    found = Session([specimen.subject(name) for name in COPIES], settings, source="source").run()
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


def measure(wanted: argparse.Namespace) -> bool:
    """Measure or record as the command line says, and return whether verdicts were right often and quickly enough."""
    results: dict[str, list[dict[str, object]]] = {kind: [] for kind in KINDS}
    how = {"seconds": wanted.seconds, "neighbour": wanted.neighbour}
    if wanted.journal.exists():
        for line in wanted.journal.read_text("utf-8").splitlines():
            result = json.loads(line)
            if result.get("how") == how:  # older journals do not say
                results[result["pair"]].append(result)
    device = LocalDevice()
    with tempfile.TemporaryDirectory() as folder, neighbour() if wanted.neighbour else nullcontext():
        try:
            specimen = Specimen(Path(folder), device)
            if wanted.record:
                for seed in range(wanted.runs):
                    record(specimen, wanted.record, seed)
                return True
            latency_ns = find_latency_ns(specimen)
            for seed in range(wanted.runs):
                for name, kind in KINDS.items():
                    if seed < len(results[name]):
                        continue
                    extra_ns = round(latency_ns * kind.slower)
                    result = {"pair": name, "how": how, **measure_pair(specimen, extra_ns, seed, wanted.seconds)}
                    results[name].append(result)
                    with wanted.journal.open("a", encoding="utf-8") as journal:
                        journal.write(json.dumps(result) + "\n")
        finally:
            device.close()
    return print_table(results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100, help="pairs of each kind, or sessions to record")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="as for edgeopt export")
    parser.add_argument("--journal", type=Path, default=Path(tempfile.gettempdir()) / "edgeopt-verdicts.jsonl")
    parser.add_argument("--record", type=Path, help="write samples of equal copies into this folder instead")
    parser.add_argument("--neighbour", action="store_true", help="keep a third of every core busy meanwhile")
    parser.add_argument("--simulate", type=Path, help="simulate sessions from the recordings in this folder's folders")
    wanted = parser.parse_args()
    if wanted.simulate:
        folders = sorted(path for path in wanted.simulate.iterdir() if path.is_dir())
        fine = print_simulated(folders, wanted.seconds)
    else:
        fine = measure(wanted)
    if not fine:
        raise SystemExit("wrong too often, not found often enough, or not quickly enough")


if __name__ == "__main__":
    main()
