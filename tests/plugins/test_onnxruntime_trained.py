"""The onnxruntime backend on really trained models, with the numbers that are known for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeopt.api import Artifact, ExportRequest
from edgeopt.source.choice import resolve_source
from edgeopt.source.model import LoadedSource, open_source
from edgeopt_onnxruntime.backend import OnnxRuntime
from edgeopt_onnxruntime.conversion import answers_of
from edgeopt_onnxruntime.production import Options

pytestmark = [
    pytest.mark.slow,
    pytest.mark.shared,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
]


def export(source: LoadedSource, out_dir: Path, feeds: list, **options: str) -> Artifact:
    out_dir.mkdir()
    return OnnxRuntime().export(ExportRequest(source, out_dir, Options(**options), feeds, log=lambda _: None))


def answers(artifact: Artifact, feeds: list) -> np.ndarray:
    return np.concatenate([next(iter(answer.values())) for answer in answers_of(artifact.main, feeds)])


def test_image_classification_keeps_its_accuracy(shared, tmp_path):
    source = open_source(resolve_source(str(shared / "models/mlperf_tiny_ic/pretrainedResnet.h5")), tmp_path / "run")
    data = np.load(shared / "data/cifar10_1000/cifar10_1000.npz")
    feeds = [{source.inputs[0].name: image[None]} for image in data["x"].astype("float32")]

    def accuracy(artifact: Artifact) -> float:
        return float(np.mean(answers(artifact, feeds[100:]).argmax(-1) == data["y"][100:]))

    assert accuracy(export(source, tmp_path / "float", feeds, quantization="none")) == pytest.approx(0.878, abs=0.001)
    artifact = export(source, tmp_path / "int8", feeds[:100], quantization="int8")
    assert accuracy(artifact) > 0.87
    assert artifact.main.stat().st_size < 105_000
    assert artifact.warnings == ("7-bit weights: this file is right on processors without VNNI too",)


def test_anomaly_detection_scores_as_its_keras_model(shared, tmp_path):
    source = open_source(resolve_source(str(shared / "models/mlperf_tiny_ad/ad01.h5")), tmp_path / "run")
    frames = np.fromfile(shared / "data/ad01_one_clip/normal_id_01_00000000_hist_librosa.bin", "<f4").reshape(200, 128)
    windows = np.stack([frames[start : start + 5].ravel() for start in range(196)])
    feeds = [{source.inputs[0].name: window[None]} for window in windows]

    def score(artifact: Artifact) -> float:
        return float(np.mean((answers(artifact, feeds) - windows) ** 2))

    assert score(export(source, tmp_path / "float", feeds, quantization="none")) == pytest.approx(9.4913, abs=2e-4)
    assert score(export(source, tmp_path / "int8", feeds[:32], quantization="int8")) == pytest.approx(9.49, abs=0.7)


def test_keyword_spotting_from_a_saved_model(shared, tmp_path):
    source = open_source(resolve_source(str(shared / "models/mlperf_tiny_kws/kws_ref_model")), tmp_path / "run")
    data = np.load(shared / "data/kws01/kws01.npz")
    sounds = ((data["x_int8"].astype("float32") - data["zero_point"]) * data["scale"]).astype("float32")
    feeds = [{source.inputs[0].name: sound[None]} for sound in sounds]
    artifact = export(source, tmp_path / "int8", feeds[:100], quantization="int8")
    assert np.mean(answers(artifact, feeds[100:]).argmax(-1) == data["label"][100:]) > 0.9
    assert artifact.main.stat().st_size < 48_000
    assert artifact.warnings == ("7-bit weights: this file is right on processors without VNNI too",)
