"""From float to integers of 8 bits, with NNCF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeopt_openvino.saving import operators
from edgeopt_openvino.toolkit import nncf, no_bars, openvino

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

NORMALISING = {"MVN", "SquaredDifference"}
"""Operators of a layer or group normalisation: one that takes its statistics from what it normalises."""
RECURRENT = ("GRUSequence", "LSTMSequence", "RNNSequence")
"""They stay float: an LSTM of 128 units has 17 dB in int8, in 63 us, and 39 dB so, in 120 us."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A way to quantize."""

    name: str
    symmetric: bool = False
    """Whether the integers of an activation lie evenly around zero."""
    transformer: bool = False
    smooth: bool = False
    """Whether SmoothQuant moves large activations into the weights."""
    means: bool = False
    """Whether the range of an activation is NNCF's mean over feeds, and biases are corrected in one go."""
    worth_db: float = 0.0
    """So much truer it must be than what is chosen so far, since it may be slower."""


CONVOLUTIONAL = (
    Recipe("symmetric", symmetric=True),
    Recipe("symmetric-means", symmetric=True, means=True),
    Recipe("asymmetric", worth_db=1.0),
)
"""The second has NNCF's own settings, so that no model is less true than with those; the first two are as fast.

In dB, on 32 other feeds: MobileNetV2 10.5, 11.2 and 10.6; keyword spotting 25.6, 30.6 and 34.1; ResNet-8 26.4, 16.6 and
28.5. Asymmetric integers may cost 12 % of the time.
"""
TRANSFORMER = (
    Recipe("transformer", transformer=True),
    Recipe("transformer-smooth", transformer=True, smooth=True, worth_db=1.0),
)
"""SmoothQuant was made for large language models; on small transformers it cost up to 25 dB. So both are tried."""


def recipes(file: Path) -> tuple[Recipe, ...]:
    """Return the recipes for a float model.

    Normalisation at run time is what tells: with NNCF's recipe for transformers, additions and normalisations around
    it stay float, which is faster and truer (4 blocks of 128: 0.37 ms and 38.8 dB against 0.45 ms and 28.3 dB). Plain
    convolutions are faster without (ResNet-8 85 us against 88).
    """
    found = {operator.get_type_name() for operator in operators(openvino().Core().read_model(str(file)))}
    return CONVOLUTIONAL if found.isdisjoint(NORMALISING) else TRANSFORMER


def quantize(file: Path, feeds: Sequence[Mapping[str, Any]], recipe: Recipe, *, reduce_range: bool) -> Any:
    """Return the float model of `file` with weights and activations of 8 bits; of 7 bits for weights if reduced.

    NNCF's own default reduces the first convolution alone: the autoencoder of MLPerf Tiny has 31 dB without VNNI and
    41 dB with all weights reduced.

    Where a recipe does not ask for means, the range of an activation is the least and the largest value over all feeds,
    and biases are corrected by running the model again and again (ResNet-8 26 dB instead of 17, at the same speed). A
    transformer has its biases corrected in one go, which was as true or truer, in half the time.
    """
    tool = nncf()
    from nncf.quantization.advanced_parameters import AdvancedSmoothQuantParameters, OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    advanced: dict[str, Any] = {"overflow_fix": OverflowFix.ENABLE if reduce_range else OverflowFix.DISABLE}
    if not recipe.means:
        advanced["activations_range_estimator_params"] = RangeEstimatorParametersSet.MINMAX
    if not recipe.smooth:
        advanced["smooth_quant_alphas"] = AdvancedSmoothQuantParameters(convolution=-1, matmul=-1)
    with no_bars():
        return tool.quantize(
            openvino().Core().read_model(str(file)),
            tool.Dataset([dict(feed) for feed in feeds]),
            subset_size=len(feeds),
            preset=tool.QuantizationPreset.PERFORMANCE if recipe.symmetric else tool.QuantizationPreset.MIXED,
            model_type=tool.ModelType.TRANSFORMER if recipe.transformer else None,
            fast_bias_correction=recipe.transformer or recipe.means,
            ignored_scope=tool.IgnoredScope(types=list(RECURRENT), validate=False),
            advanced_parameters=tool.AdvancedQuantizationParameters(**advanced),
        )
