"""Plans: each target with its backend and its options, before anything heavy is loaded."""

import pytest

from edgeopt.devices.local import LocalDevice
from edgeopt.errors import BadInputError, UsageError
from edgeopt.pipeline.plan import make_plan, refuse_unfit
from edgeopt.targets import Target, find_targets

pytestmark = pytest.mark.quick


@pytest.fixture
def targets(tmp_path):
    return find_targets(tmp_path)


def test_options_of_the_target_and_of_the_user_are_merged(targets):
    (plan,) = make_plan([targets["tflite-int8"]], ["quantizer=converter"])
    assert plan.options == {"quantization": "int8", "io": "float32", "quantizer": "converter"}
    assert plan.plugin.startswith("edgeopt ")


def test_a_plain_key_goes_to_every_target_that_has_it_and_no_other(targets):
    plans = make_plan([targets["tflite-int8"], targets["tf-gpu"]], ["allow_cpu=true"])
    assert ["allow_cpu" in plan.options for plan in plans] == [False, True]


def test_a_key_with_a_target_goes_to_that_target_alone(targets):
    chosen = [targets["tflite-int8"], targets["tflite-float16"]]
    plans = make_plan(chosen, ["tflite-int8.quantizer=converter"])
    assert [plan.options["quantizer"] for plan in plans] == ["converter", "auto"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quantiser=litert", "--set: unknown option 'quantiser'"),
        ("quantizer", "--set 'quantizer' is not key=value"),
        ("quantizer=magic", "--set: quantizer is 'magic'; wanted one of: litert, converter"),
        ("tf-gpu.xla=true", "'tf-gpu' is not among the chosen targets"),
        ("tflite-int8.xla=true", "--set: unknown option 'xla'"),
    ],
)
def test_a_setting_that_cannot_be_used_is_a_usage_error(targets, text, message):
    with pytest.raises(UsageError) as caught:
        make_plan([targets["tflite-int8"]], [text])
    assert message in caught.value.message.replace("auto, ", "").replace(", auto", "")


def test_a_wrong_option_in_a_target_file_is_bad_input():
    with pytest.raises(BadInputError, match="unknown option 'quantisation'"):
        make_plan([Target("t", "", "tflite", {"quantisation": "int8"})], [])


def test_a_runner_that_needs_what_the_device_does_not_have_is_refused_before_anything_is_exported(targets, monkeypatch):
    plans = make_plan([targets["tflite-int8"], targets["tf-gpu"]], [])
    monkeypatch.setattr(plans[0].backend, "requires", ("numpy>=1", "no-such-runtime>=2.3"))
    refused, fit = refuse_unfit(plans, LocalDevice())
    assert fit is plans[1]
    assert refused.error.kind == "unavailable"
    assert refused.error.message == "the device local does not have no-such-runtime>=2.3, which its runner needs"
    assert refused.error.hint == "install it there: pip install 'no-such-runtime>=2.3'"


def test_a_target_of_no_known_backend_gets_a_suggestion():
    with pytest.raises(BadInputError) as caught:
        make_plan([Target("t", "", "tflit")], [])
    assert caught.value.message == "t names no known backend: no backend is called 'tflit'"
    assert caught.value.hint == "did you mean tflite?"
