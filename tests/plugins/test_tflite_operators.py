"""Where the time goes in a `.tflite` file, as the real runtime tells it."""

from __future__ import annotations

import ast
import ctypes
import statistics
import time
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeopt_tflite import runner
from tests.plugins.models import MODELS
from tests.plugins.test_tflite import open_bench

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

INVOKES = 300
"""As long as the operators are looked at, about."""


def heavy():
    """Convolutions that take far longer than the clock's microsecond; the one of 1x1 XNNPACK runs as a product."""
    from keras import Input, Sequential, layers

    return Sequential(
        [
            Input((32, 32, 16), name="image"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.DepthwiseConv2D(3),
            layers.Conv2D(64, 1),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5, activation="softmax"),
        ]
    )


@pytest.fixture(scope="module")
def file_and_feed(tmp_path_factory):
    """Return a function that gives a model as a `.tflite` file, and a feed for it."""
    benches = {}

    def make(name, **options):
        if name not in benches:
            build, feed = (heavy, lambda rng: {"image": rng.normal(size=(1, 32, 32, 16)).astype("float32")})
            build, feed = MODELS.get(name, (build, feed))
            rng = np.random.default_rng(0)
            benches[name] = open_bench(build(), [feed(rng) for _ in range(8)], tmp_path_factory.mktemp(name))
        return benches[name].export(**options).main, benches[name].evaluation[0]

    return make


@pytest.fixture
def told(file_and_feed):
    """Return a function that gives the operators of a model: (name, kernel) to count and time."""

    def tell(name, **options):
        file, feed = file_and_feed(name, **options)
        rows = runner.operators(file, 1, feed, 0.1)
        assert [row["time_s"] for row in rows] == sorted((row["time_s"] for row in rows), reverse=True)
        return {(row["name"], row["kernel"]): (row["count"], row["time_s"]) for row in rows}

    return tell


def test_it_is_written_for_python_3_9():
    ast.parse(Path(runner.__file__).read_text(), feature_version=(3, 9))


def test_an_operator_that_is_newer_than_the_runtime_is_named(file_and_feed, tmp_path):
    file, _ = file_and_feed("heavy", quantization="none")
    model = schema.ModelT.InitFromPackedBuf(file.read_bytes(), 0)
    model.operatorCodes[0].version = 99
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    newer = tmp_path / "newer.tflite"
    newer.write_bytes(builder.Output())
    with pytest.raises(
        RuntimeError, match=r"^ai-edge-litert 2\S+ does not know version 99 of CONV_2D; a newer one may$"
    ):
        runner.load(newer, 1)


def test_every_operator_has_the_name_that_it_has_in_the_file(told):
    found = told("heavy", quantization="none")
    assert {key: count for key, (count, _) in found.items()} == {
        ("CONV_2D", "XNNPACK"): 2,
        ("DEPTHWISE_CONV_2D", "XNNPACK"): 1,
        ("FULLY_CONNECTED", "XNNPACK"): 1,
        ("MEAN", "XNNPACK"): 1,
        ("RESHAPE", "XNNPACK"): 1,
        ("SOFTMAX", "XNNPACK"): 1,
    }
    assert next(iter(found)) == ("CONV_2D", "XNNPACK")


def test_the_operators_add_up_to_an_inference(file_and_feed, told):
    file, feed = file_and_feed("heavy", quantization="none")
    model = runner.load(file, 1)
    model.feed(feed)
    ratios = []
    for _ in range(5):  # in turn: a neighbour on this machine slows both down
        together_s, times_s = sum(time_s for _, time_s in told("heavy", quantization="none").values()), []
        for _ in range(INVOKES):
            begin = time.perf_counter()
            model.invoke()
            times_s.append(time.perf_counter() - begin)
        ratios.append(together_s / statistics.median(times_s))
    assert 0.4 < statistics.median(ratios) < 2.5


@pytest.mark.parametrize("io", ["float32", "int8"])
def test_int8_shows_its_borders_and_what_xnnpack_leaves_to_the_built_in_kernels(told, io):
    found = told("heavy", quantization="int8", io=io)
    assert found["CONV_2D", "XNNPACK"][0] == 2
    assert found["SOFTMAX", "built-in"][0] == 1
    assert (("QUANTIZE/DEQUANTIZE", "XNNPACK") in found) is (io == "float32")


def test_what_a_loop_runs_is_counted_once_and_the_loop_is_not(told):
    found = told("lstm", quantization="none")
    assert "WHILE" not in {name for name, _ in found}
    assert found["LESS", "built-in"][0] == 14, "two conditions, before each of six steps and at the end"
    assert found["TANH", "XNNPACK"][0] == 12


def test_it_runs_on_the_feed_and_not_on_what_is_in_memory(file_and_feed):
    file, feed = file_and_feed("embedding", quantization="none")
    names = [row["name"] for row in runner.operators(file, 1, feed, 0.05)]
    assert {"GATHER", "EMBEDDING_LOOKUP"} & set(names)
    with pytest.raises(RuntimeError, match="LiteRtRunCompiledModel gave status"):
        runner.operators(file, 1, {"tokens": np.full_like(feed["tokens"], 10**6)}, 0.05)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("LIBRARIES", ("libNone.so",), "has no library libNone.so"),
        ("LIBRARIES", ("libpywrap_litert_common.so",), "it has no LiteRtCreateEnvironment"),
        ("OPTIONS", {"other_options": "enable_profiling = true"}, "it made no profiler"),
        ("GENERAL", -1, None),
        ("OPERATOR", -1, None),
    ],
)
def test_a_runtime_that_is_otherwise_says_so(file_and_feed, monkeypatch, name, value, says):
    monkeypatch.setattr(runner, name, value)
    file, feed = file_and_feed("heavy", quantization="none")
    if says is None:  # another numbering of other events does no harm
        assert runner.operators(file, 1, feed, 0.05)
    else:
        with pytest.raises(RuntimeError, match=rf"^ai-edge-litert [\d.]+ .*{says}"):
            runner.operators(file, 1, feed, 0.05)


def test_events_in_another_form_are_refused(file_and_feed, monkeypatch):
    monkeypatch.setattr(runner, "DELEGATED_OPERATOR", 32)  # the status of a run, as if it were a time
    file, feed = file_and_feed("heavy", quantization="none")
    with pytest.raises(RuntimeError, match="in a form that is known here"):
        runner.operators(file, 1, feed, 0.05)


def event(tag, kind, elapsed_us=0):
    return runner.Event(tag=tag.encode(), kind=kind, elapsed_us=elapsed_us)


def test_a_delegate_that_hides_its_operators_is_one_of_them():
    whole = event("Delegate", runner.DELEGATE, 7)
    begin, end = event("Invoke", runner.GENERAL), event("Invoke", 32, 1 << 32)
    add = event("ADD", runner.OPERATOR, 2)
    assert runner._timed([begin, whole, add, end]) == [("Delegate", "XNNPACK", 7.0), ("ADD", "built-in", 2.0)]
    inside = event("Add (ND)", runner.DELEGATED_OPERATOR, 6)
    assert runner._timed([begin, whole, inside, add, end]) == [("Add (ND)", "XNNPACK", 6.0), ("ADD", "built-in", 2.0)]


def test_loops_in_loops_and_what_comes_after_them():
    begin, end = event("Invoke", runner.GENERAL), event("Invoke", 32, 1 << 32)
    loop, add = event("WHILE", runner.OPERATOR, 90), event("ADD", runner.OPERATOR, 1)
    after = event("Softmax (NC, F32)", runner.DELEGATED_OPERATOR, 3)
    events = [begin, add, loop, begin, add, end, begin, loop, begin, add, end, end, after, end]
    assert [tag for tag, _, _ in runner._timed(events)] == ["ADD", "ADD", "ADD", "Softmax (NC, F32)"]


@pytest.mark.parametrize(
    ("tags", "file", "names"),
    [
        (["Convolution (NHWC, F32) DWConv", "Fully Connected (NC) GEMM"], [], ["DEPTHWISE_CONV_2D", "FULLY_CONNECTED"]),
        (["Convolution (NHWC) IGEMM", "Fully Connected (NC) GEMM"], ["CONV_2D"] * 2, ["CONV_2D", "CONV_2D"]),
        (["Squared Difference (ND)", "Sigmoid (NC)", "ADD"], [], ["SQUARED_DIFFERENCE", "LOGISTIC", "ADD"]),
    ],
)
def test_names(tags, file, names):
    assert [name for name, _, _ in runner._named([(tag, "", 0.0) for tag in tags], file)] == names


def test_the_middle_half_of_the_runs_counts(file_and_feed, monkeypatch):
    times_us = iter([1, 1, 4, 6, 4, 6, 900, 900])
    monkeypatch.setattr(runner, "_timed", lambda _: [("ADD", "built-in", float(next(times_us)))])
    monkeypatch.setattr(runner, "_total_us", lambda run: run[0][2] / 1e6)
    file, feed = file_and_feed("heavy", quantization="none")
    assert runner.operators(file, 1, feed, 0.0) == [
        {"name": "ADD", "kernel": "built-in", "count": 1, "time_s": pytest.approx(5e-6)}
    ]


def test_the_event_has_the_size_that_the_library_writes():
    assert ctypes.sizeof(runner.Event) == 104
