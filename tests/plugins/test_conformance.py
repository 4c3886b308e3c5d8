"""The built-in backends pass the conformance test that a stranger's must pass."""

import pytest

from edgeopt.testing import check_backend
from edgeopt_onnxruntime.backend import OnnxRuntime
from edgeopt_openvino.backend import OpenVino
from edgeopt_saved_model.backend import SavedWithoutOptimizer
from edgeopt_tf_gpu.backend import TfGpu
from edgeopt_tflite.backend import Tflite

pytestmark = pytest.mark.slow

TestSavedWithoutOptimizer = check_backend(SavedWithoutOptimizer, min_agreement=1.0)
TestTfGpu = check_backend(TfGpu, min_agreement=1.0, options={"allow_cpu": True})
# In 8 bits, where there is more to go wrong; in float32 the backends' own tests run the same kinds of model.
TestTflite = check_backend(Tflite, min_agreement=0.95, options={"quantization": "int8"})
TestOnnxRuntime = check_backend(OnnxRuntime, min_agreement=0.95, options={"quantization": "int8"})
TestOpenVino = check_backend(OpenVino, min_agreement=0.95, options={"quantization": "int8"})
