"""Keras Applications: architectures included in Keras, written as `keras:MobileNetV2`."""

from __future__ import annotations

import difflib
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgeopt.errors import BadInputError, UsageError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeopt.source.choice import SourceChoice

PREFIX = "keras:"
# Listed here to reject a misspelt name without importing Keras; a test compares the list with Keras.
NAMES = [
    "ConvNeXtBase",
    "ConvNeXtLarge",
    "ConvNeXtSmall",
    "ConvNeXtTiny",
    "ConvNeXtXLarge",
    "DenseNet121",
    "DenseNet169",
    "DenseNet201",
    "EfficientNetB0",
    "EfficientNetB1",
    "EfficientNetB2",
    "EfficientNetB3",
    "EfficientNetB4",
    "EfficientNetB5",
    "EfficientNetB6",
    "EfficientNetB7",
    "EfficientNetV2B0",
    "EfficientNetV2B1",
    "EfficientNetV2B2",
    "EfficientNetV2B3",
    "EfficientNetV2L",
    "EfficientNetV2M",
    "EfficientNetV2S",
    "InceptionResNetV2",
    "InceptionV3",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Large",
    "MobileNetV3Small",
    "NASNetLarge",
    "NASNetMobile",
    "ResNet101",
    "ResNet101V2",
    "ResNet152",
    "ResNet152V2",
    "ResNet50",
    "ResNet50V2",
    "VGG16",
    "VGG19",
    "Xception",
]
DOWNLOAD_TIMEOUT_S = 10.0
ALTERNATIVES = "use --weights none, --weights FILE, or give the path of a model"


def find_application(name: str) -> str:
    """Return the exact name of an architecture, ignoring case.

    Raises:
        UsageError: Keras does not have this architecture.
    """
    exact = {known.lower(): known for known in NAMES}
    if name.lower() in exact:
        return exact[name.lower()]
    near = difflib.get_close_matches(name.lower(), exact)
    hint = f"did you mean {' or '.join(exact[lower] for lower in near)}?" if near else f"known: {', '.join(NAMES)}"
    raise UsageError(f"Keras Applications has no {name!r}", hint=hint)


def build_application(choice: SourceChoice) -> Any:
    """Return the Keras model of an architecture with the chosen weights.

    Raises:
        BadInputError: The weights cannot be downloaded or do not fit, or the input shape is invalid.
    """
    import keras

    build = getattr(keras.applications, choice.application)
    weights = None if choice.weights == "none" else choice.weights
    shapes = list(choice.input_shapes.values())
    given = {"input_shape": shapes[0]} if shapes else {}
    try:
        with _short_patience():
            return build(weights=weights, **given)
    except Exception as error:
        raise _explain(error, choice) from error


@contextmanager
def _short_patience() -> Iterator[None]:
    """Limit waits to `DOWNLOAD_TIMEOUT_S`; Keras itself would wait forever for a silent network."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _explain(error: Exception, choice: SourceChoice) -> BadInputError:
    """Return a Keras error as one line with a hint."""
    name = f"{PREFIX}{choice.application}"
    text = one_line(error)
    if choice.weights == "imagenet" and (isinstance(error, OSError) or "URL fetch failure" in text):
        return BadInputError(f"the ImageNet weights of {name} cannot be downloaded", hint=ALTERNATIVES)
    if choice.weights not in {"imagenet", "none"}:
        return BadInputError(f"the weights {choice.weights} do not fit {name}: {text}", hint=ALTERNATIVES)
    return BadInputError(f"{name} cannot be built: {text}", hint="--weights none allows other input shapes")
