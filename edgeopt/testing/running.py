"""Checks of a runner on its own, in the measuring harness."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from edgeopt.measure.facts import cores_allowed
from edgeopt.testing.guide import Section, refuse, require
from edgeopt.testing.rig import RunnerError
from edgeopt.testing.stock import stocked
from edgeopt.testing.subject import Subject, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgeopt.contract import Array
    from edgeopt.testing.rig import Rig

Answer = TypeVar("Answer")

CPU_PER_WALL = 1.3
"""Maximum mean number of CPUs that one thread may keep busy."""
BUSY_S = 0.3
"""Approximate time that the model runs while busy CPUs are counted, in at most `MOST_ITERATIONS` invokes."""
TRIES = 3
"""Number of times that busy CPUs are counted; the lowest count is used."""
MOST_ITERATIONS = 500
GROWTH = 3.0
"""Minimum ratio of times for 64 times the work."""
SMALL_ITERATIONS, LARGE_ITERATIONS, HUGE_ITERATIONS = 60, 8, 10
OPERATORS_S = 0.2
MOST_TOGETHER, CALL_S = 50.0, 1e-3
"""Maximum total time of operators, in inferences plus seconds: enough for any profiler, too little for another unit."""
SAME_RELATIVE = 1e-4
"""Maximum difference between two answers to one feed, relative to the largest value in the output."""
SETTLING, ROUNDS = 8, 24
"""Rounds before memory is first measured, and rounds that follow."""
KEPT_BYTES = 16 << 20
"""Maximum growth of memory over `ROUNDS` rounds; each passes 1 MB in and 1 MB out."""


class RunnerChecks(Subject):
    """Checks on the embedded demo's artifact, and on one model with three amounts of work."""

    def test_its_runner_imports_no_edgeopt(self) -> None:
        """The runner does not import edgeopt: it is pushed to a device alone."""
        runner = Path(self.backend.runner)
        lines = sorted(set(_imports_of_edgeopt(ast.parse(runner.read_text("utf-8")))))
        found = f"{runner.name} imports edgeopt in line {', '.join(map(str, lines))}"
        require(not lines, Section.RUNNER, "a runner that never imports edgeopt", found)

    def test_its_runner_answers(self) -> None:
        """The runner loads the artifact and runs it on all feeds."""
        self.exported("demo")
        self.must_answer("demo", Section.RUNNER, "load, feed, invoke and outputs work on every feed of the demo")

    def test_its_runner_works_in_a_bare_environment(self) -> None:
        """The runner works in its own folder with only its requirements."""
        self.answers()
        listed = ", ".join(self.backend.requires) or "nothing"
        expected = f"a runner that needs no more than it requires ({listed}), NumPy and the standard library"
        try:
            with self.lab.open("demo", alone=True) as rig:
                rig.answers(stocked("demo").few)
        except RunnerError as error:
            refuse(Section.REQUIREMENTS, expected, describe(error))

    def test_it_keeps_names_shapes_and_dtypes(self) -> None:
        """The outputs have the source's names, shapes and dtypes."""
        samples = len(next(iter(stocked("demo").wanted().values())))
        wanted = {spec.name: f"{(samples, *spec.shape[1:])} {spec.dtype}" for spec in stocked("demo").outputs}
        found = {name: f"{array.shape} {array.dtype}" for name, array in self.answers().items()}
        expected = f"the names, shapes and dtypes of the source's outputs, over {samples} feeds: {_listed(wanted)}"
        require(found == wanted, Section.RUNNER, expected, _listed(found))

    def test_it_gives_the_same_answer_twice(self) -> None:
        """Earlier feeds do not change an answer."""
        import numpy as np

        rig = self.rig("demo")
        first, second = (self._answers_of(rig) for _ in range(2))
        expected = "the same answer to the same feed, whatever came before it"
        for name, array in first.items():
            one, other = array.astype("float64"), second[name].astype("float64")
            largest = float(np.abs(one - other).max(initial=0.0))
            found = f"the output {name} differs by {largest:.3g} the second time"
            same = np.allclose(one, other, rtol=0, atol=SAME_RELATIVE * np.abs(one).max(initial=0.0), equal_nan=True)
            require(bool(same), Section.RUNNER, expected, found)

    def test_its_process_ends_by_itself(self) -> None:
        """No thread or process of the runner keeps the harness from exiting."""
        rig = self.rig("demo")
        self._answers_of(rig)
        ended = rig.quit()
        expected = "a process that ends within a few seconds when the host says so: no threads that keep it alive"
        require(ended == "ended with exit code 0", Section.RUNNER, expected, f"it {ended}")

    def test_it_honours_threads(self) -> None:
        """With one thread, one CPU is busy."""
        if cores_allowed() < 2:  # noqa: PLR2004
            pytest.skip("this machine has one core, so more threads would not be seen")
        rig = self._timed("large")
        once_s = self._times_s(rig, 2)[-1]
        iterations = max(2, int(BUSY_S / max(once_s, 1e-6)))
        if iterations > MOST_ITERATIONS:
            pytest.skip(f"the model takes {once_s * 1e3:.3f} ms, too short to count processors in")
        if not rig.wanted_ns():
            pytest.skip("this system does not tell how busy the processors were")
        # On a busy machine, threads that take turns wait at the same time, which looks like work. A runner that uses
        # too many threads does so every time.
        busy = min(self._busy(rig, iterations) for _ in range(TRIES))
        found = f"with threads=1 it could have kept {busy:.1f} processors busy"
        expected = f"load(path, threads) gives the runtime so many threads: at most {CPU_PER_WALL} processors for one"
        require(busy <= CPU_PER_WALL, Section.THREADS, expected, found)

    def test_it_takes_no_more_memory_with_time(self) -> None:
        """Memory taken by a call is freed after it."""
        rig = self.rig("large")
        self._go_on(rig, SETTLING)
        before = rig.rss_bytes()
        self._go_on(rig, ROUNDS)
        grown = rig.rss_bytes() - before
        expected = f"at most {KEPT_BYTES >> 20} MB more after {ROUNDS} more rounds of feed, invoke and outputs"
        require(grown <= KEPT_BYTES, Section.RUNNER, expected, f"{grown / 2**20:.0f} MB more")

    def test_it_synchronises(self) -> None:
        """`invoke` returns when the result is ready: more work takes longer."""
        large_s = self._fastest_s("large", LARGE_ITERATIONS)
        small_s = self._fastest_s("small", SMALL_ITERATIONS)
        if large_s < GROWTH * small_s:  # on a fast accelerator, the call may take most of the time
            small_s, large_s = large_s, self._fastest_s("huge", HUGE_ITERATIONS)
        expected = f"invoke returns when the result is ready: 64 times the work takes {GROWTH:g} times longer at least"
        found = f"{small_s * 1e3:.3f} ms, and {large_s * 1e3:.3f} ms for 64 times the work"
        require(large_s >= GROWTH * small_s, Section.SYNCHRONISING, expected, found)

    def test_it_tells_its_operators(self) -> None:
        """If the runner file has `operators`, it returns names and plausible times."""
        self.answers()
        expected = "operators(...) gives name, kernel, count and time_s, in seconds per inference, of each operator"
        try:
            rows = self.lab.operators("demo", OPERATORS_S)
        except RunnerError as error:
            if "RuntimeError" in error.message:  # by the contract, the runtime cannot report them
                pytest.skip(f"its runner says that it cannot: {error.message}")
            refuse(Section.RUNNER, expected, describe(error))
        if rows is None:
            pytest.skip("its runner file has no function operators, which is optional")
        named = bool(rows) and all(row["name"].strip() and row["count"] >= 1 and row["time_s"] >= 0 for row in rows)
        require(named, Section.RUNNER, expected, f"it gives {rows}")
        rig = self._timed("demo")
        together_s, inference_s = sum(row["time_s"] for row in rows), min(self._times_s(rig, SMALL_ITERATIONS))
        found = f"together they take {together_s:.3g} s, and an inference {inference_s:.3g} s"
        require(together_s <= inference_s * MOST_TOGETHER + CALL_S, Section.RUNNER, expected, found)

    def _answers_of(self, rig: Rig) -> dict[str, Array]:
        """Return the answers to a few feeds; skip the check if the runner fails."""
        return self._or_skip(lambda: rig.answers(stocked("demo").few))

    def _timed(self, model: str) -> Rig:
        """Return a loaded artifact with its first feed; skip the check if its time is meaningless."""
        rig = self.rig(model)
        if rig.untimed is not None:
            pytest.skip(f"its time means nothing here: {rig.untimed}")
        self._or_skip(lambda: rig.feed(stocked(model).evaluation))
        return rig

    def _busy(self, rig: Rig, iterations: int) -> float:
        """Return the mean number of CPUs that `iterations` invokes could have kept busy."""
        before_ns = rig.wanted_ns()
        wall_s = sum(self._times_s(rig, iterations))
        return sum((rig.wanted_ns() - before_ns).values()) / 1e9 / wall_s

    def _times_s(self, rig: Rig, iterations: int) -> list[float]:
        return self._or_skip(lambda: rig.times_s(iterations))

    def _fastest_s(self, model: str, iterations: int) -> float:
        """Return the fastest of `iterations` invokes; the first half only warms up."""
        return min(self._times_s(self._timed(model), iterations)[iterations // 2 :])

    def _go_on(self, rig: Rig, rounds: int) -> None:
        for _ in range(rounds):
            self._or_skip(lambda: rig.answers(stocked("large").evaluation))

    def _or_skip(self, ask: Callable[[], Answer]) -> Answer:
        try:
            return ask()
        except RunnerError as error:
            return pytest.skip(f"the runner does not run to the end: {error.message}")


def _imports_of_edgeopt(tree: ast.AST) -> Iterator[int]:
    """Yield the numbers of the lines that import edgeopt or a part of it."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        if any(name.partition(".")[0] == "edgeopt" for name in names):
            yield node.lineno  # type: ignore[attr-defined]


def _listed(specs: dict[str, str]) -> str:
    return ", ".join(f"{name} {spec}" for name, spec in sorted(specs.items())) or "none"
