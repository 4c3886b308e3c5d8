"""How long `edgeopt --help` takes beside a bare Typer app with as many commands, which does nothing else.

Both are started in turn, so that a busy machine hits both alike. Two bare apps are timed: one with plain help, as
edgeopt has it, and one with Typer's default, rich help. Exits with 1 when the stricter ratio of processor times, which
other processes disturb least, is above the limit.

    python benchmarks/startup.py [ROUNDS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 1.3
BARE = """
import typer

app = typer.Typer({arguments})


@app.command()
def export(model: str = ""):
    "Export."


@app.command()
def backends():
    "List the backends."


@app.command()
def doctor():
    "Look around."


@app.command()
def verify(path: str):
    "Verify."


@app.command()
def targets(name: str = ""):
    "List the targets."


app()
"""


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as folder:
        plain, rich = Path(folder, "bare_plain.py"), Path(folder, "bare_rich.py")
        plain.write_text(BARE.format(arguments="rich_markup_mode=None"), "utf-8")
        rich.write_text(BARE.format(arguments=""), "utf-8")
        programs = {
            "edgeopt": [sys.executable, "-m", "edgeopt"],
            "bare Typer, plain help": [sys.executable, str(plain)],
            "bare Typer, rich help": [sys.executable, str(rich)],
        }
        times = time_in_turn(programs, rounds, Path(folder, "bytecode"))
    wall = {name: statistics.median(pair[0] for pair in pairs) for name, pairs in times.items()}
    cpu = {name: statistics.median(pair[1] for pair in pairs) for name, pairs in times.items()}
    for name in programs:
        print(f"{name:22}  wall {1000 * wall[name]:6.1f} ms  processor {1000 * cpu[name]:6.1f} ms")
    for name in list(programs)[1:]:
        ratios = (wall["edgeopt"] / wall[name], cpu["edgeopt"] / cpu[name])
        print(f"edgeopt beside {name}: {ratios[0]:.2f}x the wall time, {ratios[1]:.2f}x the processor time")
    ratio = cpu["edgeopt"] / cpu["bare Typer, plain help"]
    print(f"limit: {LIMIT}x beside plain help: {'met' if ratio <= LIMIT else 'NOT met'}")
    return 0 if ratio <= LIMIT else 1


def time_in_turn(programs: dict[str, list[str]], rounds: int, bytecode: Path) -> dict[str, list[tuple[float, float]]]:
    """Return wall and processor times of every program, started in turn.

    The first round is not counted: it warms the disk up and writes the bytecode, as an installation has it.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(bytecode)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    for number in range(rounds + 1):
        for name, argv in programs.items():
            begin = time.perf_counter()
            with subprocess.Popen([*argv, "--help"], stdout=subprocess.DEVNULL, env=environment) as process:
                _, status, used = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            wall = time.perf_counter() - begin
            if process.returncode:
                raise SystemExit(f"{name} --help ended with {process.returncode}")
            if number:
                times[name].append((wall, used.ru_utime + used.ru_stime))
    return times


if __name__ == "__main__":
    sys.exit(main())
