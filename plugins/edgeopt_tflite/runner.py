"""Runs a `.tflite` file; imports only NumPy and LiteRT, and is pushed to a device alone."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from ai_edge_litert.interpreter import Interpreter  # noqa: TID253 - before the clock of `load` starts; imported late by the backend

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

PACKAGE = "ai_edge_litert"
LIBRARIES = ("libLiteRt.so", "libLiteRt.dylib")
"""The runtime's own C library in its package; unlike the Python interface, it has a profiler."""
CPU, LOCK_FOR_WRITING, TYPE_BYTES = 1, 1, 256
"""Values of LiteRT's C interface, and more bytes than its tensor description takes."""
OPTIONS = {"runtime_options_string": "enable_profiling = true", "xnnpack": "num_threads = {threads}"}
"""By LiteRT's own, undocumented names: 2.3 ignores unknown ones."""
GENERAL, OPERATOR, DELEGATE, DELEGATED_OPERATOR = 1, 2, 4, 8
"""Kinds of profiler events."""
NESTING = "Invoke"
"""Begins each run of a graph, including a loop body, as a general event; as one of another kind, ends it."""
LEAST_RUNS, WARM_PART = 8, 0.2
CONVOLUTIONS = {3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 9: "FULLY_CONNECTED"}
"""By number in a `.tflite` file: operators that XNNPACK runs as each other (a 1x1 convolution as a product)."""
NAMES = {
    "Average Pooling": "AVERAGE_POOL_2D",
    "Batch Matrix Multiply": "BATCH_MATMUL",
    "Concatenate": "CONCATENATION",
    "Constant Pad": "PAD",
    "Convert": "QUANTIZE/DEQUANTIZE",
    "Convolution": "CONV_2D",
    "Deconvolution": "TRANSPOSE_CONV",
    "Divide": "DIV",
    "Global Average Pooling": "MEAN",
    "HardSwish": "HARD_SWISH",
    "Invalid Unary Op": "UNARY",
    "Max Pooling": "MAX_POOL_2D",
    "Multiply": "MUL",
    "Negate": "NEG",
    "Reciprocal Square Root": "RSQRT",
    "Sigmoid": "LOGISTIC",
    "Square Root": "SQRT",
    "Static Reshape": "RESHAPE",
    "Subtract": "SUB",
}
"""XNNPACK's names that differ from the file's; the rest differs only in spelling."""


UNKNOWN = re.compile(r"find op for builtin opcode '(\w+)' version '(\d+)'")
"""LiteRT's message about an operator that is newer than itself."""


class Model:
    """A loaded file; `feed`, `invoke` and `outputs` follow edgeopt's contract."""

    def __init__(self, path: Path, threads: int) -> None:
        """Open the file and keep its details, so that `invoke` is the interpreter's own."""
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
        except ValueError as error:
            if not (unknown := UNKNOWN.search(str(error))):
                raise
            name, version = unknown.groups()
            raise RuntimeError(f"{_version()} does not know version {version} of {name}; a newer one may") from error
        self._interpreter.allocate_tensors()
        signature = self._interpreter.get_signature_runner()
        self._inputs: dict[str, dict[str, Any]] = signature.get_input_details()
        self._outputs: dict[str, dict[str, Any]] = signature.get_output_details()
        self.invoke = self._interpreter.invoke

    def feed(self, inputs: Mapping[str, Any]) -> None:
        """Copy the arrays into the input tensors, as integers if the file requires it."""
        for name, array in self.prepared(inputs).items():
            self._interpreter.set_tensor(self._inputs[name]["index"], array)

    def prepared(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arrays in the types of the input tensors."""
        return {name: _quantize(inputs[name], detail) for name, detail in self._inputs.items()}

    def outputs(self) -> dict[str, Any]:
        """Return the outputs as real numbers, by name."""
        return {
            name: _dequantize(self._interpreter.get_tensor(detail["index"]), detail)
            for name, detail in sorted(self._outputs.items())
        }


class Library:
    """LiteRT's C interface; every call is checked.

    Raises:
        RuntimeError: The installed version lacks the library.
    """

    def __init__(self) -> None:
        spec = importlib.util.find_spec(PACKAGE)
        places = list(spec.submodule_search_locations or ()) if spec else []
        files = [os.path.join(place, name) for place in places for name in LIBRARIES]  # noqa: PTH118
        found = [file for file in files if os.path.exists(file)]  # noqa: PTH110
        if not found:
            raise RuntimeError(f"{_version()} has no library {LIBRARIES[0]}, which would tell the operators")
        self._library = ctypes.CDLL(found[0])

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function.

        Raises:
            RuntimeError: The function is missing or fails.
        """
        try:
            function = getattr(self._library, name)
        except AttributeError:
            raise RuntimeError(f"{_version()} does not tell the time of operators: it has no {name}") from None
        status = function(*arguments)
        if status:
            raise RuntimeError(f"{_version()} does not tell the time of operators: {name} gave status {status}")

    def new(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """Return the handle that a function gives through its last argument."""
        made = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(made))
        return made

    def number(self, name: str, *arguments: Any, kind: Any = ctypes.c_size_t) -> int:
        """Return a number that a function gives through its last argument."""
        found = kind()
        self.call(name, *arguments, ctypes.byref(found))
        return int(found.value)


class Event(ctypes.Structure):
    """One profiler event, as in `litert_profiler_event.h`; times are whole microseconds."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("begin_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_size_t * 6),
        ("node", ctypes.c_uint64),
        ("graph", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


class Profiled:
    """A file in LiteRT's compiled form, with its profiler: the same kernels as `Model`, chosen in the same way."""

    def __init__(self, path: Path, threads: int, inputs: Mapping[str, Any]) -> None:
        """Open the file and fill its inputs."""
        self._api = api = Library()
        self._kept: list[Any] = []
        environment = api.new("LiteRtCreateEnvironment", 0, None)
        model = api.new("LiteRtCreateModelFromFile", environment, os.fsencode(path))
        options = api.new("LiteRtCreateOptions")
        api.call("LiteRtSetOptionsHardwareAccelerators", options, CPU)
        for name, text in OPTIONS.items():
            api.call("LiteRtAddOpaqueOptions", options, self._option(name, text.format(threads=threads)))
        self._compiled = api.new("LiteRtCreateCompiledModel", environment, model, options)
        signature = api.new("LiteRtGetModelSignature", model, ctypes.c_size_t(0))
        self._inputs = self._buffers("Input", environment, signature, inputs)
        self._outputs = self._buffers("Output", environment, signature, {})
        self._profiler = api.new("LiteRtCompiledModelGetProfiler", self._compiled)
        if not self._profiler:
            raise RuntimeError(f"{_version()} does not tell the time of operators: it made no profiler")
        self.convolutions = self._convolutions(model)

    def run(self) -> None:
        """Run the model once."""
        ends = [(ctypes.c_size_t(len(buffers)), buffers) for buffers in (self._inputs, self._outputs)]
        self._api.call("LiteRtRunCompiledModel", self._compiled, ctypes.c_size_t(0), *ends[0], *ends[1])

    def events(self) -> list[Event]:
        """Run the model once and return its events: the profiler holds a limited number of them."""
        for step in ("LiteRtResetProfiler", "LiteRtStartProfiler"):
            self._api.call(step, self._profiler)
        self.run()
        self._api.call("LiteRtStopProfiler", self._profiler)
        count = self._api.number("LiteRtGetNumProfilerEvents", self._profiler, kind=ctypes.c_int)
        events = (Event * count)()
        self._api.call("LiteRtGetProfilerEvents", self._profiler, count, events)
        return list(events)

    def _option(self, name: str, text: str) -> ctypes.c_void_p:
        """Return one option in the form of LiteRT's own wrappers: a name and a line of TOML."""
        title, line = ctypes.create_string_buffer(name.encode()), ctypes.create_string_buffer(f"{text}\n".encode())
        nothing = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)  # the texts are ours to free
        self._kept += [title, line, nothing]
        return self._api.new("LiteRtCreateOpaqueOptions", title, ctypes.cast(line, ctypes.c_void_p), nothing)

    def _buffers(self, end: str, environment: Any, signature: Any, arrays: Mapping[str, Any]) -> Any:
        """Return a buffer for every input or output, filled if `arrays` are given."""
        api = self._api
        buffers = (ctypes.c_void_p * api.number(f"LiteRtGetNumSignature{end}s", signature))()
        for position in range(len(buffers)):
            index = ctypes.c_size_t(position)
            tensor = api.new(f"LiteRtGetSignature{end}TensorByIndex", signature, index)
            form = ctypes.create_string_buffer(TYPE_BYTES)
            api.call("LiteRtGetRankedTensorType", tensor, form)
            needed = api.new(
                f"LiteRtGetCompiledModel{end}BufferRequirements", self._compiled, ctypes.c_size_t(0), index
            )
            buffer = api.new("LiteRtCreateManagedTensorBufferFromRequirements", environment, form, needed)
            name = ctypes.c_char_p()
            api.call(f"LiteRtGetSignature{end}Name", signature, index, ctypes.byref(name))
            if arrays:
                self._fill(buffer, arrays[(name.value or b"").decode()])
            buffers[position] = buffer.value
        return buffers

    def _fill(self, buffer: ctypes.c_void_p, array: Any) -> None:
        """Copy an array into a buffer."""
        numbers = array.tobytes()
        size = self._api.number("LiteRtGetTensorBufferPackedSize", buffer)
        if size != len(numbers):
            raise RuntimeError(f"an input takes {size} bytes, and the feed has {len(numbers)}")
        place = ctypes.c_void_p()
        self._api.call("LiteRtLockTensorBuffer", buffer, ctypes.byref(place), LOCK_FOR_WRITING)
        ctypes.memmove(place, numbers, size)
        self._api.call("LiteRtUnlockTensorBuffer", buffer)

    def _convolutions(self, model: ctypes.c_void_p) -> list[str]:
        """Return the convolutions and products of the file's main graph, in order."""
        api = self._api
        main = api.number("LiteRtGetMainModelSubgraphIndex", model)
        graph = api.new("LiteRtGetModelSubgraph", model, ctypes.c_size_t(main))
        numbers = []
        for index in range(api.number("LiteRtGetNumSubgraphOps", graph)):
            operator = api.new("LiteRtGetSubgraphOp", graph, ctypes.c_size_t(index))
            numbers.append(api.number("LiteRtGetOpCode", operator, kind=ctypes.c_int))
        return [CONVOLUTIONS[number] for number in numbers if number in CONVOLUTIONS]


def load(path: Path, threads: int) -> Model:
    """Open the file with `threads` threads."""
    return Model(path, threads)


def operators(path: Path, threads: int, feed: Mapping[str, Any], seconds: float) -> list[dict[str, Any]]:
    """Return the operators by type and kernel, with their time per inference.

    Times are of the middle half of all runs, so that neither a burst of noise nor a lucky run counts. The runtime
    counts whole microseconds and rounds down: shorter times are 0.

    Raises:
        RuntimeError: The installed version of LiteRT cannot report them.
    """
    profiled = Profiled(path, threads, Model(path, threads).prepared(feed))
    begin = time.perf_counter()
    while time.perf_counter() - begin < WARM_PART * seconds:
        profiled.run()
    runs: list[list[tuple[str, str, float]]] = []
    begin = time.perf_counter()
    while len(runs) < LEAST_RUNS or time.perf_counter() - begin < seconds:
        ran = time.perf_counter()
        runs.append(_named(_timed(profiled.events()), profiled.convolutions))
        if not runs[-1] or _total_us(runs[-1]) > 1e6 * (time.perf_counter() - ran):
            raise RuntimeError(f"{_version()} does not tell the time of operators in a form that is known here")
    runs.sort(key=_total_us)
    return _summed(runs[len(runs) // 4 : -(len(runs) // 4)])


def _total_us(run: Iterable[tuple[str, str, float]]) -> float:
    return sum(elapsed_us for _, _, elapsed_us in run)


def _timed(events: Sequence[Event]) -> list[tuple[str, str, float]]:
    """Return name, kernel and microseconds of each operator of one run.

    A loop is left out, but not its body: its own time is mostly the profiler's.
    """
    whole = not any(event.kind == DELEGATED_OPERATOR for event in events)  # a delegate that hides its operators
    kernels = {OPERATOR: "built-in", DELEGATE if whole else DELEGATED_OPERATOR: "XNNPACK"}
    found: list[tuple[str, str, float]] = []
    loops: set[int] = set()
    last: list[int] = []  # the last operator of each running graph
    for event in events:
        tag = (event.tag or b"").decode("utf-8", "replace")
        if tag == NESTING and event.kind == GENERAL:
            loops.update(last[-1:])
            last.append(-1)
        elif tag == NESTING and last:
            last.pop()
        elif event.kind in kernels:
            last[-1:] = [len(found)]
            found.append((tag, kernels[event.kind], float(event.elapsed_us)))
    return [operator for place, operator in enumerate(found) if place not in loops]


def _named(run: list[tuple[str, str, float]], convolutions: Sequence[str]) -> list[tuple[str, str, float]]:
    """Return the operators of one run under the file's names, as far as these are known."""
    renamed = [(_name(tag), kernel, elapsed_us) for tag, kernel, elapsed_us in run]
    places = [place for place, (name, _, _) in enumerate(renamed) if name in CONVOLUTIONS.values()]
    if len(places) == len(convolutions):
        for place, name in zip(places, convolutions):  # noqa: B905 - not in Python 3.9
            renamed[place] = (name, *renamed[place][1:])
    return renamed


def _name(tag: str) -> str:
    """Return the file's name for an operator: `Add (ND)` of XNNPACK is `ADD`."""
    kind, _, form = tag.partition(" (")
    if kind == "Convolution" and form.endswith("DWConv"):
        return CONVOLUTIONS[4]
    return NAMES.get(kind, kind.upper().replace(" ", "_"))


def _summed(runs: Sequence[Sequence[tuple[str, str, float]]]) -> list[dict[str, Any]]:
    """Return the mean over some runs, by name and kernel; slowest first."""
    count: dict[tuple[str, str], int] = defaultdict(int)
    elapsed_us: dict[tuple[str, str], float] = defaultdict(float)
    for run in runs:
        for name, kernel, us in run:
            count[name, kernel] += 1
            elapsed_us[name, kernel] += us
    found = [
        {
            "name": name,
            "kernel": kernel,
            "count": round(count[name, kernel] / len(runs)),
            "time_s": us / len(runs) / 1e6,
        }
        for (name, kernel), us in elapsed_us.items()
    ]
    return sorted(found, key=lambda operator: -operator["time_s"])


def _version() -> str:
    """Return name and version of the installed runtime."""
    from importlib import metadata

    try:
        return f"ai-edge-litert {metadata.version('ai-edge-litert')}"
    except metadata.PackageNotFoundError:
        return "this LiteRT"


def _quantize(array: Any, detail: Mapping[str, Any]) -> Any:
    """Return `array` in the type of the tensor, rounded to its steps if it has any."""
    import numpy as np

    wanted, (scale, zero_point) = detail["dtype"], detail["quantization"]
    values = np.asarray(array)
    if scale == 0 or values.dtype == wanted:
        return values.astype(wanted, copy=False)
    limits = np.iinfo(wanted)
    return np.clip(np.round(values / scale) + zero_point, limits.min, limits.max).astype(wanted)


def _dequantize(array: Any, detail: Mapping[str, Any]) -> Any:
    """Return the real numbers of a quantized tensor; any other array unchanged."""
    import numpy as np

    scale, zero_point = detail["quantization"]
    if scale == 0 or not np.issubdtype(array.dtype, np.integer):
        return array
    return (array.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
