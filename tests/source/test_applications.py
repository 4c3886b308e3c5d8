import os
import subprocess
import sys
import time

import pytest

from edgeopt.errors import BadInputError, UsageError
from edgeopt.source.applications import NAMES, build_application, find_application
from edgeopt.source.choice import resolve_source

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras with NumPy 2.4


def test_the_names_are_those_of_keras():
    import keras

    assert sorted(name for name in dir(keras.applications) if name[0].isupper()) == sorted(NAMES)


def test_upper_and_lower_case_do_not_matter():
    assert find_application("mobilenetv2") == "MobileNetV2"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("MobileNetV22", "did you mean MobileNetV2 or MobileNet or MobileNetV3Small?"), ("zzz", "known: ConvNeXtBase, ")],
)
def test_unknown_names(name, hint):
    with pytest.raises(UsageError) as caught:
        find_application(name)
    assert caught.value.message == f"Keras Applications has no {name!r}"
    assert caught.value.hint.startswith(hint)


def test_building_and_opening_one(open_model):
    source = open_model("keras:MobileNet", weights="none", input_shapes=["32,32,3"])
    assert (source.name, source.format, source.path.name) == ("MobileNet", "keras", "MobileNet.keras")
    assert source.inputs[0].shape == (1, 32, 32, 3)
    assert source.inputs[0].name.startswith("input_layer")
    assert source.path.is_file()
    assert source.keras().count_params() == 4_253_864


def test_weights_that_do_not_fit(tmp_path):
    import keras

    file = tmp_path / "small.weights.h5"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save_weights(file)
    choice = resolve_source("keras:MobileNet", weights=str(file), input_shapes=["32,32,3"])
    with pytest.raises(BadInputError, match="do not fit keras:MobileNet") as caught:
        build_application(choice)
    assert caught.value.hint == "use --weights none, --weights FILE, or give the path of a model"


def test_a_shape_that_the_architecture_refuses():
    choice = resolve_source("keras:MobileNet", weights="none", input_shapes=["8,8,3"])
    with pytest.raises(BadInputError, match="keras:MobileNet cannot be built: ") as caught:
        build_application(choice)
    assert "\n" not in caught.value.message


def test_a_download_without_a_network_fails_fast(tmp_path):
    script = """
from edgeopt.errors import BadInputError
from edgeopt.source.applications import build_application
from edgeopt.source.choice import resolve_source
try:
    build_application(resolve_source("keras:MobileNet"))
except BadInputError as error:
    print(f"{error.message} | {error.hint}")
"""
    nowhere = "http://127.0.0.1:9"
    environment = {**os.environ, "KERAS_HOME": str(tmp_path), "https_proxy": nowhere, "HTTPS_PROXY": nowhere}
    begin = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert result.stdout.splitlines()[-1] == (
        "the ImageNet weights of keras:MobileNet cannot be downloaded"
        " | use --weights none, --weights FILE, or give the path of a model"
    )
    assert time.monotonic() - begin < 60
    assert not list(tmp_path.rglob("*.h5"))
