import json
import subprocess
import sys
import zipfile

import pytest

from edgeopt.errors import BadInputError, UsageError
from edgeopt.source.choice import DEMO, SourceChoice, resolve_source


@pytest.fixture
def model(tmp_path):
    file = tmp_path / "my model.keras"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", "{}")
    return file


def test_a_file_and_its_options(tmp_path, model):
    choice = resolve_source(
        model.name,
        folder=tmp_path,
        input_shapes=["a=8,3"],
        input_ranges=["a=0,255"],
        batch=2,
        custom_modules=["mine.layers"],
        trusted=True,
    )
    assert choice == SourceChoice(
        name="my_model",
        format="keras",
        path=str(model),
        application="",
        weights=None,
        input_shapes={"a": (8, 3)},
        input_ranges={"a": (0.0, 255.0)},
        batch=2,
        signature=None,
        custom_modules=("mine.layers",),
        trusted=True,
        chosen_by="the command line",
    )
    assert SourceChoice.from_dict(json.loads(json.dumps(choice.to_dict()))) == choice


def test_an_application(tmp_path):
    choice = resolve_source("keras:mobilenetv2")
    assert (choice.name, choice.format, choice.path) == ("MobileNetV2", "application", "")
    assert (choice.application, choice.weights) == ("MobileNetV2", "imagenet")
    weights = tmp_path / "w.h5"
    weights.touch()
    assert resolve_source("keras:MobileNetV2", weights="w.h5", folder=tmp_path).weights == str(weights)
    assert resolve_source("keras:MobileNetV2", weights="none").weights == "none"
    with pytest.raises(BadInputError, match=r"there is no weights file other\.h5"):
        resolve_source("keras:MobileNetV2", weights="other.h5", folder=tmp_path)


def test_no_model_is_the_demo(tmp_path):
    choice = resolve_source(None, folder=tmp_path)
    assert (choice.name, choice.path, choice.chosen_by) == ("demo", str(DEMO), "the embedded demo")


def test_no_model_is_what_the_project_names(tmp_path, model):
    (tmp_path / "edgeopt.toml").write_text(f"model = '{model.name}'")
    choice = resolve_source(None, folder=tmp_path)
    assert (choice.path, choice.chosen_by) == (str(model), "edgeopt.toml")
    assert resolve_source("keras:VGG16", folder=tmp_path).chosen_by == "the command line"


def test_a_folder_that_is_only_a_version_is_called_as_its_parent(tmp_path):
    folder = tmp_path / "keyword-spotter" / "3"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").touch()
    choice = resolve_source(str(folder), signature="serve")
    assert (choice.name, choice.format, choice.signature) == ("keyword-spotter", "saved_model", "serve")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("my modl.keras", "did you mean my model.keras?"),
        ("MobileNetV2", "did you mean keras:MobileNetV2?"),
        ("qqqq", "for instance keras:MobileNetV2"),
        ("nowhere/at/all.keras", "for instance keras:MobileNetV2"),
    ],
)
@pytest.mark.usefixtures("model")
def test_a_missing_file(tmp_path, text, hint):
    with pytest.raises(BadInputError) as caught:
        resolve_source(text, folder=tmp_path)
    assert caught.value.message == f"there is no file or folder {text}"
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("my model.keras", {"weights": "none"}, "--weights goes with keras:NAME only"),
        ("my model.keras", {"signature": "x"}, "--signature goes with a SavedModel folder only"),
        ("keras:VGG16", {"signature": "x"}, "--signature goes with a SavedModel folder only"),
        ("my model.keras", {"batch": 0}, "--batch 0: must be at least 1"),
        ("my model.keras", {"input_shapes": ["a=b"]}, "--input-shape 'a=b'"),
        ("keras:MobileNetV9", {}, "Keras Applications has no 'MobileNetV9'"),
    ],
)
@pytest.mark.usefixtures("model")
def test_options_that_are_wrong(tmp_path, text, options, message):
    with pytest.raises(UsageError) as caught:
        resolve_source(text, folder=tmp_path, **options)
    assert caught.value.message.startswith(message)


def test_resolving_loads_nothing_heavy():
    script = (
        "import sys; from edgeopt.source.choice import resolve_source; resolve_source(None);"
        "print([name for name in ('tensorflow', 'keras', 'numpy', 'h5py') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
