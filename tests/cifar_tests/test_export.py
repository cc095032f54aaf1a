"""Exported files predict as the network does, in any batch, by themselves."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cifar import export
from cifar.candidate import Candidate
from cifar.checkpoint import TrainedModel
from cifar.errors import ConfigError
from cifar.export import FORMS, METADATA, export_model
from cifar.networks.fast_resnet import FastResNetConfig
from cifar.networks.registry import NetworkConfig
from cifar.networks.resnet import ResNetConfig
from cifar.normalization import Normalization
from cifar.prediction import predict_probabilities
from search.export import FORMATS

STATISTICS = Normalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
RESNET = ResNetConfig(blocks=(1, 1, 1), channels=(8, 8, 8), stem=8, num_classes=3, image_size=12)


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "BATCH", 4)
    monkeypatch.setattr(export, "CHECKED", 9)


def trained(config: NetworkConfig = RESNET) -> TrainedModel:
    """A network whose running statistics are not those of its beginning."""
    network = config.build()
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.randn(16, 3, config.image_size, config.image_size))
    return TrainedModel(network.eval(), Candidate(config), STATISTICS, tuple("abc"))


def images(count: int, size: int = 12) -> Tensor:
    return torch.randint(256, (count, 3, size, size), dtype=torch.uint8)


def expected(model: TrainedModel, batch: Tensor) -> Tensor:
    return predict_probabilities(model.network, batch, STATISTICS, device=torch.device("cpu"))


def metadata_of(model: TrainedModel) -> dict[str, str]:
    cost = model.candidate.cost
    return {"classes": '["a", "b", "c"]', "parameters": str(cost.parameters), "macs": str(cost.macs)}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["torchscript", "torch_export"])
def test_files_of_torch_predict_in_a_process_without_this_tool(form: str, tmp_path: Path) -> None:
    model, batch = trained(), images(5)
    path = tmp_path / f"model{FORMATS[form]}"
    export_model(model, path, form)
    torch.save(batch, tmp_path / "batch.pt")
    load = {
        "torchscript": "model = torch.jit.load(path, _extra_files=extra)",
        "torch_export": "model = torch.export.load(path, extra_files=extra).module()",
    }
    code = f"""
import json, sys, torch
path, extra = {str(path)!r}, {{{METADATA!r}: ""}}
{load[form]}
batch = torch.load({str(tmp_path / "batch.pt")!r})
parts = [model(batch), torch.cat([model(one) for one in batch.split(1)])]
assert not any(name.startswith(("cifar", "search")) for name in sys.modules)
text = extra[{METADATA!r}]
print(json.dumps([[part.softmax(1).tolist() for part in parts], json.loads(text)]))
"""
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    parts, metadata = json.loads(found.stdout)
    for part in parts:
        torch.testing.assert_close(torch.tensor(part), expected(model, batch), atol=1e-5, rtol=0)
    assert metadata.items() >= metadata_of(model).items()
    assert metadata["input"] == "images: uint8 (B, 3, 12, 12), red, green, blue"


@pytest.mark.slow
@pytest.mark.parametrize("config", [RESNET, FastResNetConfig(num_classes=3)], ids=lambda config: config.kind)
def test_onnx_predicts_in_its_own_runtime(config: NetworkConfig, tmp_path: Path) -> None:
    onnx: Any = pytest.importorskip("onnx", reason="needs the package onnx")
    pytest.importorskip("onnxscript", reason="needs the package onnxscript")
    runtime: Any = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
    model = trained(config)
    export_model(model, tmp_path / "model.onnx", "onnx")
    stored = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(stored)
    assert {prop.key: prop.value for prop in stored.metadata_props}.items() >= metadata_of(model).items()
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    for count in (1, 5):
        batch = images(count, config.image_size)
        (logits,) = session.run(["logits"], {"images": batch.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits).softmax(1), expected(model, batch), atol=1e-5, rtol=0)


def test_a_fast_network_is_exported(tmp_path: Path) -> None:
    model, batch = trained(FastResNetConfig(num_classes=3)), images(5, 32)
    assert export_model(model, tmp_path / "model.pt", "torchscript") <= 1e-5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript's own
        read = torch.jit.load(tmp_path / "model.pt")  # type: ignore[no-untyped-call]
    torch.testing.assert_close(read(batch).softmax(1), expected(model, batch), atol=1e-5, rtol=0)


class Noisy(nn.Module):
    """Predicts otherwise each time."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.rand_like(x.flatten(1)[:, :3])


class Branching(nn.Module):
    """Decides by the values, which no graph can hold."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3] if x.sum() > 0 else -x.flatten(1)[:, :3]


@pytest.mark.parametrize(
    ("network", "form", "message"),
    [
        (Noisy(), "torchscript", r"the file must predict as the network does, within 0.0001 of each .*; got 0\.\d+\."),
        pytest.param(
            Branching(),
            "torch_export",
            "the network must be one that torch_export can hold; got",
            marks=pytest.mark.slow,  # the first export of a process loads much
        ),
    ],
)
def test_what_cannot_be_exported_is_told_and_nothing_is_written(
    network: nn.Module, form: str, message: str, tmp_path: Path
) -> None:
    model = TrainedModel(network, Candidate(RESNET), STATISTICS, tuple("abc"))
    with pytest.raises(ConfigError, match=message) as raised:
        export_model(model, tmp_path / "model", form)
    assert str(raised.value).endswith("Try another --format.")
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_of_onnx_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "onnx", sys)
    with pytest.raises(ConfigError, match=r"needs onnx, onnxscript and onnxruntime; got .* Run pip install onnxscript"):
        export_model(trained(), tmp_path / "model.onnx", "onnx")


def test_the_command_offers_every_form() -> None:
    assert FORMATS.keys() == FORMS.keys()
