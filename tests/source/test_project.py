import pytest

from edgeopt.errors import BadInputError
from edgeopt.source.project import Project, read_project


def test_a_folder_that_says_nothing(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert read_project(tmp_path) == Project()


def test_edgeopt_toml_comes_before_pyproject(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.edgeopt]\nmodel = 'b.keras'\n")
    assert read_project(tmp_path) == Project("[tool.edgeopt] in pyproject.toml", "b.keras")
    (tmp_path / "edgeopt.toml").write_text("model = 'a.keras'\ntargets = ['tflite-int8']\n")
    assert read_project(tmp_path) == Project("edgeopt.toml", "a.keras", ("tflite-int8",))


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("modle = 'a'", "unknown key 'modle'; valid are model, data, targets, devices", "did you mean model?"),
        ("model = 3", "model must be a text", 'for instance model = "model.keras"'),
        ("targets = 'a'", "targets must be a list of texts", 'for instance targets = ["tflite-int8"]'),
        ("targets = [1]", "targets must be a list of texts", 'for instance targets = ["tflite-int8"]'),
        ("devices = 'a'", "devices is not a table", "write [devices.NAME], then uri = ..."),
        ("model = ", "it is no valid TOML", ""),
    ],
)
def test_what_is_wrong_in_it(tmp_path, text, message, hint):
    file = tmp_path / "edgeopt.toml"
    file.write_text(text)
    with pytest.raises(BadInputError) as caught:
        read_project(tmp_path)
    assert str(file) in caught.value.message
    assert message in caught.value.message
    assert caught.value.hint == hint


def test_a_table_that_is_none(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool]\nedgeopt = 'a.keras'\n")
    with pytest.raises(BadInputError, match=r"tool\.edgeopt is not a table"):
        read_project(tmp_path)


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "edgeopt.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInputError, match="it is no valid TOML"):
        read_project(tmp_path)


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "9" * 5000, "#" * 1_100_000])
def test_a_file_that_no_parser_takes(tmp_path, text):
    (tmp_path / "edgeopt.toml").write_text(text)
    with pytest.raises(BadInputError, match="cannot be read: it is "):
        read_project(tmp_path)
    (tmp_path / "edgeopt.toml").unlink()
    (tmp_path / "pyproject.toml").write_text("tool = 3")
    assert read_project(tmp_path) == Project()
