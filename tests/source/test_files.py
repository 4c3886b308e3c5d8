import os
import zipfile

import pytest

from edgeopt.errors import BadInputError
from edgeopt.source.files import HDF5_START, check_file


def saved_model(folder):
    folder.mkdir()
    (folder / "saved_model.pb").touch()
    return folder


def keras_file(path, member="config.json"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, "{}" * 100)
    return path


def test_formats(tmp_path):
    (tmp_path / "a.h5").write_bytes(HDF5_START + b"...")
    (tmp_path / "a.hdf5").write_bytes(HDF5_START + b"...")
    assert check_file(tmp_path / "a.h5") == "h5"
    assert check_file(tmp_path / "a.hdf5") == "h5"
    assert check_file(keras_file(tmp_path / "a.keras")) == "keras"
    assert check_file(saved_model(tmp_path / "folder")) == "saved_model"


@pytest.mark.parametrize(
    ("name", "content", "message", "hint"),
    [
        ("a.keras", b"", "is empty", "save or copy it again"),
        ("a.keras", b"PK\x03\x04 and then nothing", "is cut short", "save or copy it again"),
        ("a.keras", b"hello, world", "is no .keras file", "save or copy it again"),
        ("a.keras", HDF5_START, "is an HDF5 file with the ending of another format", "rename it to .h5"),
        ("a.h5", b"PK\x03\x04", "is a zip file with the ending of another format", "rename it to .keras"),
        ("a.h5", b"hello, world", "is no HDF5 file", "save or copy it again"),
        ("a.tflite", b"TFL3", "is a finished TFLite file, not a source model", "give a .keras file"),
        ("a.onnx", b"....", "is an ONNX file, not a source model", "give a .keras file"),
        ("a.xyz", b"....", "is of an unknown kind, not a source model", "give a .keras file"),
        ("saved_model.pb", b"....", "is inside a SavedModel", "give the folder: "),
    ],
)
def test_files_that_are_no_model(tmp_path, name, content, message, hint):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(BadInputError) as caught:
        check_file(file)
    assert caught.value.message == f"{file} {message}"
    assert caught.value.hint.startswith(hint)


def test_a_keras_file_cut_short(tmp_path):
    file = keras_file(tmp_path / "a.keras")
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(BadInputError, match="is cut short"):
        check_file(file)


def test_a_zip_file_without_a_model(tmp_path):
    with pytest.raises(BadInputError, match="is a zip file without a Keras model in it"):
        check_file(keras_file(tmp_path / "a.keras", member="other.txt"))


def test_a_folder_that_is_no_saved_model(tmp_path):
    with pytest.raises(BadInputError) as caught:
        check_file(tmp_path)
    assert caught.value.message == f"the folder {tmp_path} is no SavedModel"
    assert caught.value.hint == "a SavedModel folder holds a file saved_model.pb"


def test_a_folder_with_models_in_it(tmp_path):
    inside = [keras_file(tmp_path / "a.keras"), saved_model(tmp_path / "b")]
    with pytest.raises(BadInputError) as caught:
        check_file(tmp_path)
    assert caught.value.hint == f"did you mean {inside[0]} or {inside[1]}?"


@pytest.mark.parametrize("name", ["a.keras", "a.h5"])
def test_a_pipe_does_not_hang(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(BadInputError, match="is no regular file"):
        check_file(tmp_path / name)


def test_a_file_that_cannot_be_read(tmp_path):
    file = tmp_path / "a.keras"
    file.symlink_to(file)
    with pytest.raises(BadInputError, match="cannot be read"):
        check_file(file)
