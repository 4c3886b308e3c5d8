"""Open a SavedModel and wrap one of its signatures as a function of named tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeopt.errors import BadInputError, did_you_mean, one_line
from edgeopt.source.inputs import Slot, argument_names, plain_names
from edgeopt.source.normalise import SIGNATURE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Signature:
    """One signature of a SavedModel.

    Args:
        folder: The SavedModel.
        name: The signature; None selects `serving_default`, or the only signature.
        shown: Path to show in messages if the folder is a copy.

    Raises:
        BadInputError: The folder cannot be loaded, or does not have this signature.
    """

    def __init__(self, folder: Path, name: str | None, *, shown: Path) -> None:
        import tensorflow as tf

        try:
            self.owner = tf.saved_model.load(str(folder))
        except Exception as error:
            message = f"the SavedModel {shown} cannot be loaded: {one_line(error)}"
            raise BadInputError(message, hint="is the folder complete?") from error
        self._function = _choose(dict(self.owner.signatures), name, shown)
        self._originals = list(self._function.structured_input_signature[1])
        plain = dict(zip(self._originals, argument_names(self._originals), strict=True))
        specs = self._function.structured_input_signature[1]
        self.slots = tuple(_slot(plain[original], specs[original]) for original in self._originals)
        self.renamed = tuple((old, new) for old, new in plain.items() if old != new)

        self._trained = self._function

    half = False

    def through(self, repaired: Signature) -> Signature:
        """Return the repaired copy of this signature, with this one as its original for comparison."""
        repaired._trained = self._function
        return repaired

    def found_ranges(self) -> dict[str, tuple[float, float]]:
        """Return an empty result: a signature does not store ranges."""
        return {}

    def original(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Return the named outputs of the signature as loaded."""
        return self._call(self._trained, tensors)

    def call(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Return the named outputs of the signature."""
        return self._call(self._function, tensors)

    def _call(self, function: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
        named = {old: tensors[slot.name] for old, slot in zip(self._originals, self.slots, strict=True)}
        answer = function(**named)
        return dict(zip(plain_names(answer), answer.values(), strict=True))


def _choose(signatures: dict[str, Any], name: str | None, folder: Path) -> Any:
    if not signatures:
        raise BadInputError(
            f"the SavedModel {folder} has no signature",
            hint=f"save it with tf.saved_model.save(model, path, signatures={{'{SIGNATURE}': function}})",
        )
    if name is None:
        if SIGNATURE not in signatures and len(signatures) > 1:
            listed = ", ".join(sorted(signatures))
            raise BadInputError(
                f"the SavedModel {folder} has several signatures: {listed}", hint="choose: --signature NAME"
            )
        name = SIGNATURE if SIGNATURE in signatures else next(iter(signatures))
    if name not in signatures:
        raise BadInputError(f"the SavedModel {folder} has no signature {name!r}", hint=did_you_mean(name, signatures))
    return signatures[name]


def _slot(name: str, spec: Any) -> Slot:
    return Slot(name, None if spec.shape.rank is None else tuple(spec.shape.as_list()), spec.dtype.name)
