import json
import subprocess
import sys

import pytest

from edgeopt.source import runner

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras with NumPy 2.4

ASK = """
import importlib.util, json, sys
import numpy as np
spec = importlib.util.spec_from_file_location("runner", sys.argv[1])
runner = importlib.util.module_from_spec(spec)
spec.loader.exec_module(runner)
model = runner.load(sys.argv[2], threads=1)
model.feed({"b": np.float32([[3]]), "a": np.float32([[1, 2]])})
model.invoke()
import tensorflow as tf
answer = {name: (value.tolist(), type(value).__name__) for name, value in model.outputs().items()}
threads = tf.config.threading
counts = [threads.get_intra_op_parallelism_threads(), threads.get_inter_op_parallelism_threads()]
print(json.dumps({"outputs": answer, "facts": model.facts(), "threads": counts, "edgeopt": "edgeopt" in sys.modules}))
"""


def test_the_source_row_runs_as_a_compiled_function(open_model):
    import keras
    import tensorflow as tf

    a, b = keras.Input((2,), name="a"), keras.Input((1,), name="b")
    model = keras.Model([a, b], {"sum": keras.layers.Add(name="sum")([a, b]), "b": keras.layers.Identity(name="b2")(b)})
    folder = open_model(model).saved_model()
    command = [sys.executable, "-c", ASK, runner.__file__, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    gpu = bool(tf.config.list_physical_devices("GPU"))
    assert json.loads(result.stdout.splitlines()[-1]) == {
        "outputs": {"b": [[[3.0]], "ndarray"], "sum": [[[4.0, 5.0]], "ndarray"]},
        "facts": {"tensorflow": tf.__version__, "placed_on": "GPU" if gpu else "CPU"},
        "threads": [1, 1],
        "edgeopt": False,
    }
