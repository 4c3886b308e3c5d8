"""A phone without Python and a benchmark program: a shell script stands for that, as none for Android can be had here.

It prints what TensorFlow Lite's `benchmark_model` does, and runs nothing.
"""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

from edgeopt.contract import Backend
from edgeopt.devices import open_device
from edgeopt.devices.adb import COMMAND_VARIABLE
from edgeopt.devices.local import LocalDevice
from edgeopt.errors import BadInputError, LinkLostError
from edgeopt.measure.facts import Facts
from edgeopt.pipeline import harnesses
from edgeopt.pipeline.entries import Entry, result_of
from edgeopt.pipeline.exporting import Exported
from edgeopt.pipeline.job import Job
from edgeopt.pipeline.native import NativeProgram, choose_native
from edgeopt.pipeline.plan import Plan, Refusal
from edgeopt.pipeline.request import ExportSettings, Silence
from edgeopt.report.schema import Native, Result
from edgeopt_tflite.backend import Tflite
from tests.standins.waiting import until

PROGRAM = """\
#!/system/bin/sh
graph=${1#--graph=}
[ -s "$graph" ] || { echo "ERROR: no model $graph" >&2; exit 1; }
echo "INFO: Num threads: [${2#--num_threads=}]" >&2
cat <<END
INFO: Initialized session in 12.25ms.
INFO: count=9 first=12231 curr=2106 min=2065 max=12231 avg=2331.42 std=746 p5=2070 median=2110 p95=2500

INFO: count=913 first=2143 curr=2101 min=2056 max=2656 avg=2177.5 std=124 p5=2060 median=2150 p95=2400

INFO: Memory footprint delta from the start of the tool (MB): init=5.5 overall=7.25
END
"""


@pytest.fixture
def phone(adb_phone, monkeypatch):
    """A phone without Python that edgeopt's adb finds."""
    monkeypatch.setenv(COMMAND_VARIABLE, f"adb -P {adb_phone.server.port}")
    return adb_phone


@pytest.fixture
def program(tmp_path):
    file = tmp_path / "benchmark model's $(name)"
    file.write_text(PROGRAM)
    return file


@pytest.fixture
def entry(tmp_path):
    """An artifact that was exported."""
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "model.tflite").write_text("the artifact")
    plan = SimpleNamespace(target=SimpleNamespace(name="int8"), backend=Tflite, environment=None)
    exported = Exported(plan, folder, folder / "model.tflite", (), {}, (), 0, 1.0)
    return Entry(plan, exported=exported, folder=folder)


@pytest.fixture
def time(phone, entry):
    """Time the artifact with a program on the phone, and return its entry."""
    device = open_device(f"adb://{phone.serial}")

    def timed(file, **settings):
        NativeProgram(device, file).time(entry, ExportSettings(threads=3, **settings), Silence())
        return entry

    yield timed
    device.close()


@pytest.mark.slow
def test_export_to_a_phone_without_python(phone, program, edgeopt):
    code, run = edgeopt.json(
        *("export", "-t", "tflite-float32,saved-without-optimizer", "--threads", "2", "--rank"),
        *("--device", f"adb://{phone.serial}", "--native-program", program),
    )
    source, timed, refused = run["results"]
    assert code == 7, "none could be ranked"
    assert run["ranking"]["best"] is None
    reasons = {ranked["target"]: ranked["reason"] for ranked in run["ranking"]["order"]}
    assert reasons["tflite-float32"] == "timed by itself, so it was not compared"
    assert source["untimed"] == f"adb://{phone.serial} has no Python"
    assert (timed["status"], timed["latency"], timed["fidelity"], timed["memory"]) == ("ok", None, None, None)
    assert timed["native"] == {
        "program": program.name,
        "threads": 2,
        "count": 913,
        "mean_s": 0.0021775,
        "median_s": 0.00215,
        "min_s": 0.002056,
        "std_s": 0.000124,
        "load_s": 0.01225,
        "first_s": 0.012231,
        "model_bytes": 7_602_176,
    }
    assert (edgeopt.folder / timed["artifact"]["path"] / "model.tflite").is_file()
    assert timed["versus_source"]["speedup"] is None
    assert refused["status"] == "unavailable"
    assert "knows no benchmark program" in refused["error"]["message"]
    assert run["device"]["os"].startswith("Android 14")
    assert run["device"]["health"]["battery_percent"] == [87, 87]
    until(lambda: phone.processes() == {})


def test_the_row_says_what_it_is(phone, program, edgeopt):
    arguments = ("export", "-t", "tflite-float32", "--device", f"adb://{phone.serial}", "--native-program", program)
    code, out, err = edgeopt.run(*arguments)
    assert code == 0, err
    assert "! native, not interleaved" in out
    assert "2.15 ms" in out
    assert "the median of 913 inferences, timed by" in out
    code, out, err = edgeopt.run(*arguments[:-2])
    assert code == 6
    assert "python3 is not there" in err
    assert "--native-program" in err


def test_a_program_that_fails_says_why(time, tmp_path):
    file = tmp_path / "benchmark_model"
    file.write_text("#!/system/bin/sh\necho good\necho 'ERROR: Failed to allocate tensors!' >&2\nexit 1\n")
    error = time(file).error
    assert error.message == "benchmark_model ended with exit code 1"
    assert error.hint == "its last words: ERROR: Failed to allocate tensors!"


def test_a_program_for_another_machine_says_so(time, tmp_path):
    (tmp_path / "benchmark_model").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(100))
    error = time(tmp_path / "benchmark_model").error
    assert error.message.startswith("benchmark_model ended with exit code 12")
    assert "benchmark_model" in error.hint


def test_a_program_that_prints_something_else_hangs_or_dies(time, tmp_path, phone):
    for name, script, message in (
        ("garbage", "echo $(id)", "what garbage printed cannot be read: benchmark_model printed no times"),
        ("hangs", "sleep 78 & sleep 78", "hangs took longer than 2 s"),
        ("dies", "kill -11 $$", "dies was ended by signal 11"),
    ):
        (tmp_path / name).write_text(f"#!/system/bin/sh\n{script}\n")
        entry = time(tmp_path / name, timeout_s=2.0)
        assert (entry.error.message, entry.native) == (message, None)
    until(lambda: not any("sleep" in line for line in phone.processes().values()))


def test_a_backend_that_breaks_the_contract_is_one_row(time, program, entry):
    class Broken(Tflite):
        @classmethod
        def read_native(cls, output):
            raise KeyError("count")

    entry.exported.plan.backend = Broken
    assert time(program).error.message == "it does not keep the contract: KeyError: 'count'"


def test_a_budget_is_checked_against_the_median_that_there_is(entry):
    entry.plan.target = SimpleNamespace(name="int8", backend="tflite", budget={"max_median_s": 0.002})
    entry.plan.plugin = ""
    for median_s, met in ((0.001, True), (0.003, False), (None, None)):
        entry.native = Native("benchmark_model", 1, 50, 0.001, median_s, None, None, None, None, None)
        (line,) = result_of(entry, Result("source", "", "", "ok"), None, budget=entry.plan.target.budget).budget
        assert (line.value, line.met) == (median_s, met)


def test_a_phone_that_is_gone_for_good_is_waited_for_once(phone, program, entry, monkeypatch):
    monkeypatch.setattr(harnesses, "reconnect", partial(harnesses.reconnect, wait_s=0.0))
    device = open_device(f"adb://{phone.serial}")
    other = replace(entry)
    found = SimpleNamespace(entries={"int8": entry, "other": other}, source_untimed="")
    job = Job(
        settings=ExportSettings(),
        progress=Silence(),
        workspace=None,
        device=device,
        found=found,
        native=NativeProgram(device, program),
    )
    health = device.health()
    monkeypatch.setattr(device, "health", lambda: health)  # so that the cut comes when the first one is timed
    phone.link.refusing = True
    phone.link.cut()
    with pytest.raises(LinkLostError):
        job.measure()
    device.close()
    assert entry.error is not None
    assert other.error is None  # the end of the run says of it what ended that


def test_a_backend_without_a_program_is_refused(program):
    class Other(Backend):
        name = "other"

        def export(self, request):
            """Do nothing."""

    target = SimpleNamespace(name="x")
    plans = [
        Plan(target, SimpleNamespace(backend=backend, plugin=SimpleNamespace(origin="p")), {})
        for backend in (Other, Tflite)
    ]
    refused, kept = NativeProgram(None, program).refuse_unfit(plans)
    assert isinstance(refused, Refusal)
    assert refused.error.message.startswith("the backend other knows no benchmark program")
    assert kept is plans[1]
    with pytest.raises(ValueError, match="reads no program's output"):
        Other.read_native("")


def test_a_program_is_only_used_without_python(program, tmp_path):
    class Told(Silence):
        said = ""

        def say(self, text):
            Told.said = text

    assert choose_native(program, LocalDevice(), Facts(uri="local", python="3.11"), Told()) is None
    assert Told.said == f"local has Python, so {program.name} is not used"
    assert choose_native(None, LocalDevice(), Facts(), Silence()) is None
    with pytest.raises(BadInputError, match="is no file"):
        choose_native(tmp_path / "none", LocalDevice(), Facts(), Silence())
