"""The measuring loop: one file that runs on the device, the same bytes everywhere.

It needs Python 3.9, NumPy and the imports of the runner, but not edgeopt. The host starts it as a separate process and
talks to it over standard input and output, one JSON message per line:

    load      runner, artifact, threads   -> load_s, untimed, facts
    feed      feeds, index                -> nothing; gives the runner one feed
    warm      seconds                     -> first_s, iterations, latency_s, steady
    time      iterations, settle          -> samples_ns
    evaluate  feeds, out                  -> count; runs all feeds and writes the outputs into the folder `out`
    memory                                -> peak_bytes, model_bytes, facts
    operators runner, artifact, threads, feeds, seconds
                                          -> operators: list of name, kernel, count, time_s; needs no `load`
    quit                                  -> nothing; the process ends

An answer with the key `error` reports a failure; a line with the key `event` reports the progress of a long message.
`feeds` is a folder with `index.json` (`inputs`: name to `.npy` file, `count`, `batch`) and one file per input, `count x
batch` samples along its first axis; `out` becomes such a folder, with `outputs`.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib.util
import json
import math
import os
import queue
import statistics
import sys
import threading
import time
import traceback

TYPE_CHECKING = False  # typing itself is not needed on the device
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO, Any

HOST_IS_GONE = 4
WARM_WINDOW_S = 0.02
"""Minimum duration of a stretch of invokes; its median is compared with the previous one."""
WARM_TOLERANCE = 0.03
"""Maximum relative difference between the medians of successive stretches at a steady latency."""
WARM_AGREEING = 2
"""Number of successive agreements that make the latency steady."""
PROGRESS_INTERVAL_S = 0.5
MESSAGE_LENGTH = 500
MOST = 1e300  # larger facts are dropped
CLOCK_S, CLOCK_NS, MONOTONIC_S = time.perf_counter, time.perf_counter_ns, time.monotonic
"""Bound before any runner is imported: one that replaces a clock changes only its own time."""


class Wire:
    """The connection to the host over standard input and output.

    Both are reserved for it: the output of a runtime goes to standard error, and its input is empty.
    """

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
        self._messages = os.fdopen(os.dup(0), "r", encoding="utf-8")
        self._received: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._sending = threading.Lock()
        os.dup2(2, 1)
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        os.close(empty)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        """Queue messages; exit at once when the host is gone, even if a runtime hangs."""
        with contextlib.suppress(OSError, ValueError):
            for line in self._messages:
                self._received.put(json.loads(line))
        os._exit(HOST_IS_GONE)

    def receive(self) -> dict[str, Any]:
        """Wait for the next message and return it."""
        return self._received.get()

    def send(self, answer: dict[str, Any]) -> None:
        """Send one answer or event."""
        line = json.dumps(answer) + "\n"
        with self._sending:
            self._answers.write(line)
            self._answers.flush()


class Feeds:
    """A folder of feeds: `index.json` and one `.npy` file per input, `count x batch` samples along its first axis.

    Feeds are read one at a time, so that a large set does not count as the model's memory.
    """

    def __init__(self, folder: str) -> None:
        with open(os.path.join(folder, "index.json"), encoding="utf-8") as file:  # noqa: PTH118, PTH123
            index = json.load(file)
        self._files = {name: os.path.join(folder, file) for name, file in index["inputs"].items()}  # noqa: PTH118
        self.count = int(index["count"])
        """Number of feeds."""
        self.batch = int(index["batch"])
        """Samples per feed."""

    def walk(self, start: int = 0) -> Iterator[dict[str, Any]]:
        """Yield the feeds, beginning with number `start`."""
        with contextlib.ExitStack() as stack:
            streams = {name: stack.enter_context(open(file, "rb")) for name, file in self._files.items()}  # noqa: PTH123
            inputs = {name: (stream, *self._header(stream)) for name, stream in streams.items()}
            for stream, shape, dtype in inputs.values():
                stream.seek(start * math.prod(shape) * dtype.itemsize, os.SEEK_CUR)
            for _ in range(start, self.count):
                yield {name: read_array(*where) for name, where in inputs.items()}

    def _header(self, stream: IO[bytes]) -> tuple[tuple[int, ...], Any]:
        """Return shape and dtype of one feed, and leave the stream at the first number."""
        from numpy.lib import format as npy

        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        if fortran and len(shape) > 1:
            raise ValueError("feeds must be stored in C order")
        if dtype.hasobject:
            raise ValueError("feeds must be numbers, not Python objects")
        if shape[0] != self.count * self.batch:
            raise ValueError(f"{shape[0]} samples are not {self.count} feeds of {self.batch}")
        return (self.batch, *shape[1:]), dtype


class Outputs:
    """Writes the outputs of all feeds into a folder: one `.npy` file per output, and an `index.json`.

    It avoids a memory map, which would end the process on a full disk.
    """

    def __init__(self, folder: str, count: int, batch: int) -> None:
        self._folder = folder
        self._count = count
        self._batch = batch
        self._files: dict[str, str] = {}
        self._streams: dict[str, IO[bytes]] = {}
        self._forms: dict[str, tuple[tuple[int, ...], Any]] = {}
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - one import less on the device

    def put(self, number: int, outputs: dict[str, Any]) -> None:
        """Store the outputs of the next feed."""
        import numpy as np

        if not hasattr(outputs, "items"):
            raise TypeError(f"outputs() gave a {type(outputs).__name__}; wanted a mapping from name to array")
        arrays = {str(name): np.atleast_1d(value) for name, value in outputs.items()}
        forms = {name: (rows.shape, rows.dtype) for name, rows in arrays.items()}
        if number == 0:
            self._begin(forms)
        elif forms != self._forms:
            raise ValueError(f"feed {number} gave outputs of other names, shapes or types than the first: {forms}")
        for name, rows in arrays.items():
            self._streams[name].write(rows.tobytes())

    def _begin(self, forms: dict[str, tuple[tuple[int, ...], Any]]) -> None:
        """Open a file for every output."""
        from numpy.lib import format as npy

        self._forms = forms
        for name, (shape, dtype) in forms.items():
            if dtype.kind not in "biufc":
                raise TypeError(f"the output {name} holds {dtype}, and no numbers")
            self._files[name] = f"{len(self._files)}.npy"
            self._streams[name] = open(os.path.join(self._folder, self._files[name]), "wb")  # noqa: PTH118, PTH123, SIM115
            whole = (self._count * shape[0], *shape[1:])
            header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": whole}
            npy.write_array_header_1_0(self._streams[name], header)

    def close(self) -> None:
        """Flush the files, then write the index, which marks the outputs as complete."""
        for stream in self._streams.values():
            stream.close()
        self._streams.clear()
        index = os.path.join(self._folder, "index.json")  # noqa: PTH118
        with open(index, "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump({"outputs": self._files, "count": self._count, "batch": self._batch}, file)


class Harness:
    """Holds one loaded artifact and answers messages about it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._runner: Any = None
        self._first_s: float | None = None
        self._rss_before_bytes = 0
        self._model_bytes = 0

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """Answer one message; an exception becomes an answer."""
        known = (self.load, self.feed, self.warm, self.time, self.evaluate, self.memory, self.operators)
        ask: dict[str, Callable[..., dict[str, Any]]] = {method.__name__: method for method in known}
        arguments = dict(message)
        try:
            return ask[arguments.pop("op")](**arguments)
        except BaseException as error:  # noqa: BLE001 - a runner may raise anything, SystemExit included
            with contextlib.suppress(OSError):  # the log may be on a full disk
                traceback.print_exc()
            return {"error": {"kind": type(error).__name__, "message": in_words(error)}}

    def load(self, runner: str, artifact: str, threads: int) -> dict[str, Any]:
        """Import the runner file and load the artifact with it; only loading is timed."""
        module = import_file(runner)
        self._rss_before_bytes = rss_bytes()
        begin = CLOCK_S()
        self._runner = module.load(artifact, threads)
        load_s = CLOCK_S() - begin
        self._model_bytes = max(0, rss_bytes() - self._rss_before_bytes)
        untimed = getattr(self._runner, "untimed", None)
        if untimed is not None and not isinstance(untimed, str):
            raise TypeError(f"untimed is a {type(untimed).__name__}; wanted None, or a text that says why")
        return {"load_s": load_s, "untimed": untimed, "facts": self._facts()}

    def feed(self, feeds: str, index: int = 0) -> dict[str, Any]:
        """Give the runner one feed."""
        self._runner.feed(next(Feeds(feeds).walk(index)))
        return {}

    def warm(self, seconds: float) -> dict[str, Any]:
        """Invoke until the latency is steady, or for about `seconds`."""
        begin = CLOCK_S()
        if self._first_s is None:
            self._first_s = time_invokes(self._runner.invoke, 1)[0] / 1e9
            self._model_bytes = max(0, rss_bytes() - self._rss_before_bytes)
        medians_s: list[float] = []
        agreeing = iterations = 0
        # Even a slow model gets enough stretches to compare; each of them is then a single invoke.
        while len(medians_s) <= WARM_AGREEING or (agreeing < WARM_AGREEING and CLOCK_S() - begin < seconds):
            samples_ns = time_window(self._runner.invoke, WARM_WINDOW_S)
            iterations += len(samples_ns)
            medians_s.append(statistics.median(samples_ns) / 1e9)
            agreeing = agreeing + 1 if agree(medians_s[-2:]) else 0
        return {
            "first_s": self._first_s,
            "iterations": iterations + 1,
            "latency_s": medians_s[-1],
            "steady": agreeing >= WARM_AGREEING,
        }

    def time(self, iterations: int, settle: int = 0) -> dict[str, Any]:
        """Time single invokes after `settle` unrecorded ones: another artifact has just used the caches."""
        for _ in range(settle):
            self._runner.invoke()
        return {"samples_ns": time_invokes(self._runner.invoke, iterations)}

    def evaluate(self, feeds: str, out: str) -> dict[str, Any]:
        """Run all feeds and write the outputs."""
        inputs = Feeds(feeds)
        outputs = Outputs(out, inputs.count, inputs.batch)
        told = MONOTONIC_S()
        for number, feed in enumerate(inputs.walk()):
            self._runner.feed(feed)
            self._runner.invoke()
            outputs.put(number, self._runner.outputs())
            if MONOTONIC_S() - told > PROGRESS_INTERVAL_S:
                told = MONOTONIC_S()
                self._wire.send({"event": "evaluated", "done": number + 1, "of": inputs.count})
        outputs.close()
        return {"count": inputs.count}

    def memory(self) -> dict[str, Any]:
        """Return the peak memory of this process, and the part added by loading and the first invoke."""
        return {"peak_bytes": peak_bytes(), "model_bytes": self._model_bytes, "facts": self._facts()}

    def operators(self, runner: str, artifact: str, threads: int, feeds: str, seconds: float) -> dict[str, Any]:
        """Return the time of each operator from the runner file; None if it lacks a function for it."""
        find = getattr(import_file(runner), "operators", None)
        rows = None if find is None else find(artifact, threads, next(Feeds(feeds).walk()), seconds)
        types = {"name": str, "kernel": str, "count": int, "time_s": float}
        return {"operators": rows and [{key: kind(row[key]) for key, kind in types.items()} for row in rows]}

    def _facts(self) -> dict[str, Any]:
        """Return the facts of the runner; only flat values pass."""
        facts: dict[str, Any] = self._runner.facts() if hasattr(self._runner, "facts") else {}
        if not hasattr(facts, "items"):
            raise TypeError(f"facts() gave a {type(facts).__name__}; wanted a mapping")
        return {str(key): value for key, value in facts.items() if is_flat(value)}


def in_words(error: BaseException) -> str:
    """Return an exception as `Type: message`, in one line, even if its text fails."""
    try:
        said = str(error).strip()
    except Exception as other:  # noqa: BLE001 - a runner's exception may do anything
        said = f"<its text fails with {type(other).__name__}>"
    return f"{type(error).__name__}: {said}".splitlines()[0][:MESSAGE_LENGTH]


def is_flat(value: Any) -> bool:
    """Return whether a fact is a text, a boolean or a finite number that other programs can hold."""
    return isinstance(value, (str, bool)) or (isinstance(value, (int, float)) and abs(value) < MOST)


def read_array(stream: IO[bytes], shape: tuple[int, ...], dtype: Any) -> Any:
    """Return the next array in a file; the caller owns it and may write to it."""
    import numpy as np

    array = np.empty(shape, dtype)
    if stream.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:  # type: ignore[attr-defined]
        raise ValueError("the file of feeds is cut off")
    return array


def time_invokes(invoke: Callable[[], object], iterations: int) -> list[int]:
    """Return the nanoseconds of each of `iterations` invokes."""
    clock = CLOCK_NS
    samples = [0] * iterations
    collecting = gc.isenabled()
    gc.disable()
    try:
        for number in range(iterations):
            begin = clock()
            invoke()
            samples[number] = clock() - begin or 1  # some clocks are too coarse for a very small model
    finally:
        if collecting:
            gc.enable()
    return samples


def time_window(invoke: Callable[[], object], seconds: float) -> list[int]:
    """Return the nanoseconds of each invoke in a stretch of at least `seconds`."""
    samples: list[int] = []
    end = CLOCK_S() + seconds
    while not samples or CLOCK_S() < end:
        samples += time_invokes(invoke, 1)
    return samples


def agree(medians_s: list[float]) -> bool:
    """Return whether two successive medians are close enough for a steady latency."""
    return len(medians_s) > 1 and abs(medians_s[1] - medians_s[0]) <= WARM_TOLERANCE * medians_s[0]


def import_file(path: str) -> Any:
    """Import a Python file as a module."""
    spec = importlib.util.spec_from_file_location("edgeopt_runner", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["edgeopt_runner"] = module  # dataclasses and pickles look their module up
    spec.loader.exec_module(module)
    return module


def rss_bytes() -> int:
    """Return the resident memory of this process now, or its peak if the system does not report it."""
    return _status_bytes("VmRSS:") or peak_bytes()


def peak_bytes() -> int:
    """Return the peak resident memory of this process."""
    peak = _status_bytes("VmHWM:")
    if peak:
        return peak
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _status_bytes(key: str) -> int:
    """Return a size from Linux's status file, 0 if it is missing."""
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii", errors="replace") as status:  # noqa: PTH123
        for line in status:
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    return 0


def _forget_own_folder() -> None:
    """Remove this file's folder from the import path: a runner must not import edgeopt's files by accident."""
    own = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != own]  # noqa: PTH100


def main() -> None:
    """Answer the host until it sends `quit` or goes away."""
    wire = Wire()
    faulthandler.enable()  # a crash leaves the Python stack in the log
    _forget_own_folder()
    import numpy as np  # noqa: F401 - now, so that it counts neither as load time nor as the model's memory

    harness = Harness(wire)
    while (message := wire.receive()).get("op") != "quit":
        wire.send(harness.answer(message))
    wire.send({})


if __name__ == "__main__":
    main()
