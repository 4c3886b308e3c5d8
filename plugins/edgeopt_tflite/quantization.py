"""From float to integers, with litert-quantizer or with TensorFlow's converter."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edgeopt_tflite.conversion import convert

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    Feeds: TypeAlias = Sequence[Mapping[str, Any]]

Io: TypeAlias = Literal["float32", "int8"]
SIGNATURE = "serving_default"


def by_litert(float_file: Path, feeds: Feeds, io: Io, activation_bits: int) -> bytes:
    """Quantize weights to 8 bits and activations to `activation_bits`, with litert-quantizer.

    The statistics are the least and the largest value over all feeds, as the converter takes them. The package's own
    default is a moving average, which forgets the first feeds and clips: MobileNetV2 11.9 dB against 20.9.
    """
    from litert_quantizer import Quantizer, qtyping, recipe

    chosen = recipe.static_wi8_ai8() if activation_bits == 8 else recipe.static_wi8_ai16()  # noqa: PLR2004 - bits
    quantizer = Quantizer(float_file.read_bytes(), chosen)
    if io == "float32":
        for border in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
            quantizer.update_quantization_recipe(".*", border, algorithm_key="no_quantize")
    return _finish(quantizer, _statistics(float_file, feeds))


def dynamic_by_litert(float_file: Path) -> bytes:
    """Quantize the weights to 8 bits and leave the activations to the run time, with litert-quantizer.

    The recipe leaves weights of fewer than 1,024 elements alone, as the converter does: depthwise kernels are slower
    in 8 bits (MobileNetV2 17.9 ms against 13.7) and less true (28.7 dB against 31.3).
    """
    from litert_quantizer import Quantizer, recipe

    return _finish(Quantizer(float_file.read_bytes(), recipe.dynamic_legacy_wi8_afp32()), None)


def by_converter(saved_model: Path, feeds: Feeds, io: Io, activation_bits: int) -> bytes:
    """Quantize weights to 8 bits and activations to `activation_bits`, with the converter; never give it a loop.

    Its calibrator ends the process with a segmentation fault on a loop.
    """
    import tensorflow as tf

    def representative() -> Iterator[dict[str, Any]]:
        yield from (dict(feed) for feed in feeds)

    settings: dict[str, Any] = {
        "optimizations": [tf.lite.Optimize.DEFAULT],
        "representative_dataset": representative,
    }
    if activation_bits == 16:  # noqa: PLR2004 - bits
        wide = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        settings["target_spec"] = tf.lite.TargetSpec(supported_ops=[wide, tf.lite.OpsSet.TFLITE_BUILTINS])
    if io == "int8":
        settings |= {"inference_input_type": tf.int8, "inference_output_type": tf.int8}
    return convert(saved_model, settings)


def dynamic_by_converter(saved_model: Path) -> bytes:
    """Quantize the weights to 8 bits and leave the activations to the run time, with the converter."""
    import tensorflow as tf

    return convert(saved_model, {"optimizations": [tf.lite.Optimize.DEFAULT]})


def float16(saved_model: Path) -> bytes:
    """Return a file whose weights are kept in half precision.

    The converter makes it: litert-quantizer leaves the biases in float32, which XNNPACK cannot fold (MobileNetV2
    23.6 ms against 7.0).
    """
    import tensorflow as tf

    spec = tf.lite.TargetSpec(supported_types=[tf.float16])
    return convert(saved_model, {"optimizations": [tf.lite.Optimize.DEFAULT], "target_spec": spec})


def _statistics(float_file: Path, feeds: Feeds) -> Mapping[str, Any]:
    """Return the least and the largest value of every tensor over all feeds, by its name."""
    from litert_quantizer.calibrator import CalibrationMode, Calibrator
    from litert_quantizer.recipe_manager import RecipeManager
    from litert_quantizer.utils.qsv_utils import min_max_update

    calibrator = Calibrator(
        float_file.read_bytes(),
        num_threads=os.cpu_count() or 1,
        mode=CalibrationMode.CALIBRATION_PROFILER_BASED,
        qsv_update_func=min_max_update,
    )
    calibrator.calibrate({SIGNATURE: feeds}, RecipeManager())
    statistics: Mapping[str, Any] = calibrator.get_model_qsvs()
    return statistics


def _finish(quantizer: Any, statistics: Mapping[str, Any] | None) -> bytes:
    """Quantize without bars and reports."""
    result = quantizer.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)
