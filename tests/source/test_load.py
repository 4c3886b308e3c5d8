import json
import sys

import pytest

from edgeopt.errors import BadInputError
from edgeopt.source.load import explain, import_custom, load_keras

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras with NumPy 2.4
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty current folder that modules can be imported from; nothing of it stays."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def with_lambda():
    import keras

    return keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x + 1)])


def with_custom_layer():
    import keras

    class Twice(keras.layers.Layer):
        def call(self, x):
            return x * 2

    return keras.Sequential([keras.Input((4,)), Twice()])


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_code_in_the_file_runs_only_when_trusted(tmp_path, ending):
    file = tmp_path / f"model{ending}"
    with_lambda().save(file)
    with pytest.raises(BadInputError) as caught:
        load_keras(file, trusted=False)
    assert caught.value.message == f"{file} carries Python code of its own (a Lambda layer), which would run here"
    assert caught.value.hint == "if you trust where it comes from, add --trust-model"
    assert load_keras(file, trusted=True).layers[-1].__class__.__name__ == "Lambda"


@pytest.mark.parametrize("key", ["function_type", "output_shape_type"])
def test_code_in_a_file_of_keras_2_is_found_before_anything_is_loaded(tmp_path, key):
    import h5py

    file = tmp_path / "model.h5"
    layer = {"class_name": "Lambda", "config": {"name": "l", key: "lambda"}}
    with h5py.File(file, "w") as content:
        content.attrs["keras_version"] = "2.4.0"
        content.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}})
    with pytest.raises(BadInputError, match="carries Python code of its own"):
        load_keras(file, trusted=False)


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_a_custom_layer_that_is_not_registered(tmp_path, ending):
    file = tmp_path / f"model{ending}"
    with_custom_layer().save(file)
    with pytest.raises(BadInputError) as caught:
        load_keras(file, trusted=False)
    assert caught.value.message == f"{file} needs the custom object 'Twice', which is not registered"
    assert caught.value.hint.startswith("name the module that registers it: --custom-objects ")


@pytest.mark.shared
def test_the_hint_names_the_module_where_the_file_tells_it(shared):
    file = shared / "models" / "negative_cases" / "mtcnn_p_net_custom_class.keras"
    with pytest.raises(BadInputError) as caught:
        load_keras(file, trusted=False)
    assert caught.value.message == f"{file} needs the custom object 'PNet', which is not registered"
    assert caught.value.hint == "name the module that registers it: --custom-objects mtcnn.network.pnet"


def test_a_module_in_the_current_folder_registers_it(elsewhere):
    (elsewhere / "my_layers.py").write_text("""
import keras

@keras.saving.register_keras_serializable("mine")
class Halve(keras.layers.Layer):
    def call(self, x):
        return x / 2
""")
    import_custom(["my_layers"])
    import keras

    file = elsewhere / "model.keras"
    keras.Sequential([keras.Input((4,)), sys.modules["my_layers"].Halve()]).save(file)
    assert load_keras(file, trusted=False).layers[-1].__class__.__name__ == "Halve"


@pytest.mark.parametrize(
    ("code", "reason"),
    [(None, "ModuleNotFoundError: No module named 'broken_layers'"), ("1 / 0", "ZeroDivisionError: division by zero")],
)
def test_a_module_that_cannot_be_imported(elsewhere, code, reason):
    if code is not None:
        (elsewhere / "broken_layers.py").write_text(code)
    with pytest.raises(BadInputError) as caught:
        import_custom(["broken_layers"])
    assert caught.value.message == f"--custom-objects broken_layers cannot be imported: {reason}"


def test_weights_without_a_model(tmp_path):
    import keras

    file = tmp_path / "only.weights.h5"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save_weights(file)
    with pytest.raises(BadInputError, match="holds weights only, no model"):
        load_keras(file, trusted=False)


def test_broken_files(tmp_path):
    import keras

    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(30)])
    half = tmp_path / "half.h5"
    model.save(half)
    half.write_bytes(half.read_bytes()[:-2000])
    with pytest.raises(BadInputError, match="is a broken HDF5 file"):
        load_keras(half, trusted=False)

    flipped = tmp_path / "flipped.keras"
    model.save(flipped)
    content = bytearray(flipped.read_bytes())
    start = content.index(b"\x89HDF")
    content[start : start + 2000] = bytes(2000)
    flipped.write_bytes(content)
    with pytest.raises(BadInputError, match="cannot be loaded") as caught:
        load_keras(flipped, trusted=False)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("config", ["{nope", 5, "[]", "[" * 20_000])
def test_a_broken_description_of_the_model(tmp_path, config):
    import h5py

    file = tmp_path / "model.h5"
    with h5py.File(file, "w") as content:
        content.attrs["model_config"] = config
    with pytest.raises(BadInputError, match="holds a broken description of its model"):
        load_keras(file, trusted=False)


def test_other_messages_of_keras_are_not_explained(tmp_path):
    assert explain("Something else is wrong", tmp_path) is None
