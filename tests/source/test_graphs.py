import subprocess
import sys

import numpy as np
import pytest

from edgeopt.source.graphs import edited_copy, forget_slots

TRAIN = """
import sys
import numpy as np
import tf_keras as keras

keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, name="y")])
model.compile("adam", "mse")
model.fit(np.ones((8, 4)), np.ones((8, 3)), verbose=0)
model.save(sys.argv[1])
np.save(sys.argv[1] + "/answer.npy", model(np.ones((1, 4), np.float32)))
"""
OPEN = """
import sys
from pathlib import Path
sys.modules["tf_keras"] = None  # as where it is not installed
import numpy as np
from edgeopt.source.model import open_source
from edgeopt.source.choice import resolve_source

source = open_source(resolve_source(sys.argv[1]), Path(sys.argv[2]))
np.save(sys.argv[2] + "/answer.npy", source.infer({"x": np.ones((1, 4), np.float32)})["y"])
"""


@pytest.mark.slow
def test_a_saved_model_of_keras_2_opens_with_its_optimizer_and_without_keras_2(tmp_path):
    pytest.importorskip("tf_keras", reason="Keras 2 comes with the extra `legacy`")
    trained, workspace = tmp_path / "trained", tmp_path / "workspace"
    workspace.mkdir()
    for script, *arguments in ((TRAIN, trained), (OPEN, trained, workspace)):
        argv = [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)]
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(workspace / "answer.npy"), np.load(trained / "answer.npy"))
    assert not list(workspace.rglob("readable"))


def test_nothing_to_edit_makes_no_copy(tmp_path):
    import tensorflow as tf

    module = tf.Module()
    module.function = tf.function(lambda x: x + 1, input_signature=[tf.TensorSpec((None, 4))])
    tf.saved_model.save(module, str(tmp_path / "plain"), signatures=module.function)
    with edited_copy(tmp_path / "plain", tmp_path / "copy", forget_slots) as copy:
        assert copy is None
        assert not (tmp_path / "copy").exists()
