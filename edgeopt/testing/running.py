"""Checks of a runner: alone on a device, in the harness that measures."""

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
"""How many processors one thread may keep busy, on average."""
BUSY_S = 0.3
"""About how long the model runs while its processors are counted, in at most so many invokes."""
TRIES = 3
"""How often it is looked at how many processors are busy; the least counts."""
MOST_ITERATIONS = 500
GROWTH = 3.0
"""By how much 64 times the work must take longer, at least."""
SMALL_ITERATIONS, LARGE_ITERATIONS, HUGE_ITERATIONS = 60, 8, 10
OPERATORS_S = 0.2
MOST_TOGETHER, CALL_S = 50.0, 1e-3
"""What operators take together is at most so many times an inference: enough for any profiler, not for another unit."""
SAME_RELATIVE = 1e-4
"""How far two answers to one feed may lie apart, as a part of the largest number in the output."""
SETTLING, ROUNDS = 8, 24
"""After how many rounds memory is looked at, and how many more follow."""
KEPT_BYTES = 16 << 20
"""How much more memory may be held after `ROUNDS` rounds, in each of which 2 MB go in and 2 MB come out."""


class RunnerChecks(Subject):
    """Checks on the artifact of the embedded demo, and on one model in three sizes of work."""

    def test_its_runner_imports_no_edgeopt(self) -> None:
        """The runner is pushed to a device alone, and edgeopt is not there."""
        runner = Path(self.backend.runner)
        lines = sorted(set(_imports_of_edgeopt(ast.parse(runner.read_text("utf-8")))))
        found = f"{runner.name} imports edgeopt in line {', '.join(map(str, lines))}"
        require(not lines, Section.RUNNER, "a runner that never imports edgeopt", found)

    def test_its_runner_answers(self) -> None:
        """The runner loads the artifact and runs it over all feeds."""
        self.exported("demo")
        self.must_answer("demo", Section.RUNNER, "load, feed, invoke and outputs work on every feed of the demo")

    def test_its_runner_works_in_a_bare_environment(self) -> None:
        """With what it requires, and with nothing else, in a folder of its own."""
        self.answers()
        listed = ", ".join(self.backend.requires) or "nothing"
        expected = f"a runner that needs no more than it requires ({listed}), NumPy and the standard library"
        try:
            with self.lab.open("demo", alone=True) as rig:
                rig.answers(stocked("demo").few)
        except RunnerError as error:
            refuse(Section.REQUIREMENTS, expected, describe(error))

    def test_it_keeps_names_shapes_and_dtypes(self) -> None:
        """The outputs are called and shaped as those of the source."""
        samples = len(next(iter(stocked("demo").wanted().values())))
        wanted = {spec.name: f"{(samples, *spec.shape[1:])} {spec.dtype}" for spec in stocked("demo").outputs}
        found = {name: f"{array.shape} {array.dtype}" for name, array in self.answers().items()}
        expected = f"the names, shapes and dtypes of the source's outputs, over {samples} feeds: {_listed(wanted)}"
        require(found == wanted, Section.RUNNER, expected, _listed(found))

    def test_it_gives_the_same_answer_twice(self) -> None:
        """What was asked before does not change an answer."""
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
        """No thread or process of the runner keeps the harness from ending."""
        rig = self.rig("demo")
        self._answers_of(rig)
        ended = rig.quit()
        expected = "a process that ends within a few seconds when the host says so: no threads that keep it alive"
        require(ended == "ended with exit code 0", Section.RUNNER, expected, f"it {ended}")

    def test_it_honours_threads(self) -> None:
        """With one thread, one processor is busy."""
        if cores_allowed() < 2:  # noqa: PLR2004
            pytest.skip("this machine has one core, so more threads would not be seen")
        rig = self._timed("large")
        once_s = self._times_s(rig, 2)[-1]
        iterations = max(2, int(BUSY_S / max(once_s, 1e-6)))
        if iterations > MOST_ITERATIONS:
            pytest.skip(f"the model takes {once_s * 1e3:.3f} ms, too short to count processors in")
        if not rig.wanted_ns():
            pytest.skip("this system does not tell how busy the processors were")
        # On a machine with more to do, threads that take turns wait at the same time, and that looks like work: what
        # uses more threads than it may does so every time.
        busy = min(self._busy(rig, iterations) for _ in range(TRIES))
        found = f"with threads=1 it could have kept {busy:.1f} processors busy"
        expected = f"load(path, threads) gives the runtime so many threads: at most {CPU_PER_WALL} processors for one"
        require(busy <= CPU_PER_WALL, Section.THREADS, expected, found)

    def test_it_takes_no_more_memory_with_time(self) -> None:
        """What one call took is free again after it."""
        rig = self.rig("large")
        self._go_on(rig, SETTLING)
        before = rig.rss_bytes()
        self._go_on(rig, ROUNDS)
        grown = rig.rss_bytes() - before
        expected = f"at most {KEPT_BYTES >> 20} MB more after {ROUNDS} more rounds of feed, invoke and outputs"
        require(grown <= KEPT_BYTES, Section.RUNNER, expected, f"{grown / 2**20:.0f} MB more")

    def test_it_synchronises(self) -> None:
        """`invoke` returns when the result is there: more work takes longer."""
        large_s = self._fastest_s("large", LARGE_ITERATIONS)
        small_s = self._fastest_s("small", SMALL_ITERATIONS)
        if large_s < GROWTH * small_s:  # a fast accelerator may be busy with the call, and hardly with the work
            small_s, large_s = large_s, self._fastest_s("huge", HUGE_ITERATIONS)
        expected = f"invoke returns when the result is ready: 64 times the work takes {GROWTH:g} times longer at least"
        found = f"{small_s * 1e3:.3f} ms, and {large_s * 1e3:.3f} ms for 64 times the work"
        require(large_s >= GROWTH * small_s, Section.SYNCHRONISING, expected, found)

    def test_it_tells_its_operators(self) -> None:
        """Where the runner file has a function for it, what it says of operators has names and possible times."""
        self.answers()
        expected = "operators(...) gives name, kernel, count and time_s, in seconds per inference, of each operator"
        try:
            rows = self.lab.operators("demo", OPERATORS_S)
        except RunnerError as error:
            if "RuntimeError" in error.message:  # as the contract has it, of a runtime that cannot tell
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
        """Return the answers to a few feeds; skips the check where there are none."""
        return self._or_skip(lambda: rig.answers(stocked("demo").few))

    def _timed(self, model: str) -> Rig:
        """Return a loaded artifact with its first feed; skips the check where its time means nothing."""
        rig = self.rig(model)
        if rig.untimed is not None:
            pytest.skip(f"its time means nothing here: {rig.untimed}")
        self._or_skip(lambda: rig.feed(stocked(model).evaluation))
        return rig

    def _busy(self, rig: Rig, iterations: int) -> float:
        """Return how many processors some invokes could have kept busy."""
        before_ns = rig.wanted_ns()
        wall_s = sum(self._times_s(rig, iterations))
        return sum((rig.wanted_ns() - before_ns).values()) / 1e9 / wall_s

    def _times_s(self, rig: Rig, iterations: int) -> list[float]:
        return self._or_skip(lambda: rig.times_s(iterations))

    def _fastest_s(self, model: str, iterations: int) -> float:
        """Return the fastest of some invokes; the first half only warms it up."""
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
    """Yield the lines in which edgeopt or a part of it is imported."""
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
