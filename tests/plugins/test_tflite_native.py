"""What `benchmark_model` prints is read, in every form that its sources have had; the samples follow those sources."""

import pytest

from edgeopt.contract import NativeTimes
from edgeopt_tflite.backend import Tflite

WITH_MEDIAN = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Num threads: [4]
INFO: Graph: [/data/local/tmp/edgeopt/files/ab/int8/model.tflite]
INFO: Loaded model /data/local/tmp/edgeopt/files/ab/int8/model.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
VERBOSE: Replacing 31 out of 31 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 partitions.
INFO: The input model file size (MB): 4.27635
INFO: Initialized session in 12.25ms.
INFO: Running benchmark for at least 1 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=215 first=12231 curr=2106 min=2065 max=12231 avg=2331.42 std=746 p5=2070 median=2110 p95=2500

INFO: Running benchmark for at least 50 iterations and at least 2 seconds but terminate if exceeding 150 seconds.
INFO: count=913 first=2143 curr=2101 min=2056 max=2656 avg=2177.5 std=124 p5=2060 median=2150 p95=2400

INFO: Inference timings in us: Init: 12250, First inference: 12231, Warmup (avg): 2331.42, Inference (avg): 2177.5
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual.
INFO: Memory footprint delta from the start of the tool (MB): init=5.5 overall=7.25
"""
OLDER = """\
STARTING!
Initialized session in 1451.51ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=2 first=2339304 curr=1266325 min=1266325 max=2339304 avg=1.80281e+06 std=536489

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=1266601 curr=1266931 min=1265837 max=1268116 avg=1.26647e+06 std=419

Inference timings in us: Init: 1451507, First inference: 2339304, Warmup (avg): 1.80281e+06, Inference: 1.26647e+06
Peak memory footprint (MB): init=63.5 overall=64.5
"""
OF_LITERT = """\
INFO: [benchmark_litert_model.cc:106] Loading model from: m.tflite
INFO: Initialized session in 119.515ms.
INFO: count=9 first=87112 curr=51629 min=51629 max=87112 avg=58147.4 std=11478 p5=51629 median=51962 p95=87112

INFO: count=24 first=42142 curr=42232 min=42140 max=42763 avg=42435.4 std=147 p5=42232 median=42405 p95=42729

INFO: [benchmark_litert_model.h:75]\x20
========== BENCHMARK RESULTS ==========
INFO: [benchmark_litert_model.h:76] Model initialization: 119.52 ms
INFO: [benchmark_litert_model.h:77] Warmup (first):       87.11 ms
INFO: [benchmark_litert_model.h:81] Inference (avg):      42.44 ms (24 runs)
INFO: [benchmark_litert_model.h:106] Overall footprint:    26.50 MB
"""
ALL_THE_SAME = "count=1 curr=130\n\nRunning benchmark again\ncount=50 curr=120(all same)\n"


@pytest.mark.parametrize(
    ("output", "times"),
    [
        (WITH_MEDIAN, NativeTimes(913, 0.0021775, 0.00215, 0.002056, 0.000124, 0.01225, 0.012231, 7_602_176)),
        (OLDER, NativeTimes(50, 1.26647, None, 1.265837, 0.000419, 1.45151, 2.339304, 67_633_152)),
        (OF_LITERT, NativeTimes(24, 0.0424354, 0.042405, 0.04214, 0.000147, 0.119515, 0.087112, 27_787_264)),
        (ALL_THE_SAME, NativeTimes(50, 0.00012, 0.00012, 0.00012, 0.0, None, 0.00013, None)),
        (WITH_MEDIAN.replace("\n", "\r\n").replace("overall=7.25", "overall=0"), None),
    ],
)
def test_every_form_is_read(output, times):
    found = Tflite.read_native(output)
    assert found == (times or NativeTimes(913, 0.0021775, 0.00215, 0.002056, 0.000124, 0.01225, 0.012231, None))


@pytest.mark.parametrize(
    "output",
    [
        "",
        "ERROR: Failed to allocate tensors!\nERROR: Benchmarking failed.\n",
        WITH_MEDIAN[: WITH_MEDIAN.index("INFO: count=913")],
        "count=1 curr=130\ncount=0\n",
        "count=1 curr=130\ncount=50 curr=1e999\n",
        "count=1 curr=130\ncount=50 curr=-5\n",
        "count=1 curr=130\ncount=50 curr=.e.\n",
        # an operator profile has such a line too, but it is no phase of the run
        "count=1 curr=130\nTimings (microseconds): count=50 first=7 curr=8 min=7 max=8 avg=7.5 std=1\n",
    ],
)
def test_what_holds_no_times_is_refused(output):
    with pytest.raises(ValueError, match=r"."):
        Tflite.read_native(output)


def test_the_command():
    assert Tflite.native_job("/d/benchmark_model", "/d/a b/model.tflite", 4, 2.5) == (
        "/d/benchmark_model",
        "--graph=/d/a b/model.tflite",
        "--num_threads=4",
        "--min_secs=2.5",
        "--warmup_min_secs=1",
    )
