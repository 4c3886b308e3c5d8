"""Opens tiny models as a worker does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeopt.source.choice import resolve_source
from edgeopt.source.model import LoadedSource, open_source

Open = Callable[..., LoadedSource]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def open_model(tmp_path: Path, workspace: Path) -> Open:
    """Return a function that saves a Keras model where it is given one, and opens it; options are those of a user."""

    def save_and_open(model: Any, *, ending: str = ".keras", **options: Any) -> LoadedSource:
        if not isinstance(model, str | Path):
            file = tmp_path / f"model{ending}"
            model.save(file)
            model = file
        return open_source(resolve_source(str(model), **options), workspace)

    return save_and_open


@pytest.fixture
def to_tflite() -> Callable[[LoadedSource, dict[str, Any]], dict[str, Any]]:
    """Return a function that converts with TensorFlow's plain converter and runs one feed."""

    def convert_and_run(source: LoadedSource, feed: dict[str, Any]) -> dict[str, Any]:
        import tensorflow as tf
        from ai_edge_litert.interpreter import Interpreter

        content = tf.lite.TFLiteConverter.from_saved_model(str(source.saved_model())).convert()
        runner = Interpreter(model_content=content).get_signature_runner()
        outputs: dict[str, Any] = runner(**feed)
        return outputs

    return convert_and_run
