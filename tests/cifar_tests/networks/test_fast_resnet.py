"""The fast ResNet: whitened stem, identity start, skips, and training that starts from images once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cifar import checkpoint
from cifar.candidate import Candidate
from cifar.data.prepare import prepare
from cifar.data.splits import TrainingSplit, load_training_split
from cifar.data.toy import toy_npz
from cifar.networks import batch_norm
from cifar.networks.complexity import Cost, thop_parameters
from cifar.networks.fast_resnet import FastResNet, FastResNetConfig, Skip
from cifar.networks.initialization import WHITENING_EPSILON, whitening_filters
from cifar.networks.registry import NETWORKS, InitializedFromData, register
from cifar.normalization import normalize
from cifar.recipe import Augmentation, Optimizer, Recipe, Schedule
from cifar.runtime.device import choose_device
from cifar.train import Training

CPU = choose_device("cpu")
SMALL = FastResNetConfig(widths=(16, 24, 32), num_classes=4, image_size=16)
RECIPE = Recipe(
    batch_size=64,
    optimizer=Optimizer("sgd", lr=0.2, momentum=0.85, nesterov=True),
    schedule=Schedule("one_cycle", warmup_epochs=12),
    augmentation=Augmentation(crop_padding=2),
    label_smoothing=0.1,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> TrainingSplit:
    folder = tmp_path_factory.mktemp("toy")
    return load_training_split(prepare(toy_npz(folder / "toy.npz", train=640, size=16), cache=folder), val_size=128)


def training(split: TrainingSplit, network: Any = SMALL, epochs: float = 3, seed: int = 0, **other: Any) -> Training:
    return Training(Candidate(network, RECIPE), split, device=CPU, epochs=epochs, seed=seed, **other)


def natural_images(count: int, size: int = 32) -> Tensor:
    """Images whose neighbouring pixels and colours go together, as in photographs: much smooth grey, little noise."""
    smooth = F.interpolate(torch.randn(count, 1, size // 4, size // 4), size, mode="bicubic")
    colour = F.interpolate(torch.randn(count, 3, size // 8, size // 8), size, mode="bicubic")
    return smooth + 0.3 * colour + 0.15 * torch.randn(count, 3, size, size)


def built(config: FastResNetConfig) -> FastResNet:
    network = config.build()
    assert isinstance(network, FastResNet)
    return network


# Counts.


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (FastResNetConfig(), 498_104),
        (FastResNetConfig(widths=(64, 256, 256), residual=False), 1_972_792),  # airbench94's, 1.97M
    ],
)
def test_published_counts(config: FastResNetConfig, parameters: int) -> None:
    network = config.build()
    assert config.cost().parameters == parameters == thop_parameters(network)
    assert sum(p.numel() for p in network.parameters()) == parameters
    frozen = {name: p.numel() for name, p in network.named_parameters() if not p.requires_grad}
    assert frozen.pop("stem.conv.weight") == 24 * 12
    assert set(frozen) == {f"{name}.weight" for name, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)}


# Whitening.


@pytest.mark.parametrize("kernel", [2, 3])
def test_whitened_patches_are_uncorrelated_and_of_unit_size(kernel: int) -> None:
    images = natural_images(400)
    width = 2 * 3 * kernel**2
    network = built(FastResNetConfig(whitening_kernel=kernel, whitening_width=width))
    stem = network.get_submodule("stem.conv")
    network.initialize_from(images)
    with torch.no_grad():
        outputs = stem(images).transpose(0, 1).flatten(1)  # (width, everything else)
    half = outputs[: width // 2].double()
    moments = half @ half.T / half.shape[1]
    assert (moments - moments.diag().diag()).abs().max() < 1e-4
    assert (moments.diag() > 0.9).all()  # lambda / (lambda + epsilon)
    assert (moments.diag() <= 1).all()
    torch.testing.assert_close(outputs[width // 2 :], -outputs[: width // 2])
    raw = F.unfold(images, kernel).transpose(0, 1).flatten(1).double()
    correlation = torch.corrcoef(raw)
    assert (correlation - correlation.diag().diag()).abs().max() > 0.5  # they were not so before


@settings(deadline=None, max_examples=20)
@given(count=st.integers(1, 5), size=st.integers(4, 12), kernel=st.sampled_from((2, 3)), seed=st.integers(0, 2**20))
def test_filters_are_scaled_eigenvectors_of_any_images(count: int, size: int, kernel: int, seed: int) -> None:
    images = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))
    filters = whitening_filters(images, kernel).double().flatten(1)
    patches = F.unfold(images.double(), kernel).transpose(1, 2).flatten(0, 1)
    moments = patches.T @ patches / len(patches)
    lengths = filters.norm(dim=1)
    eigenvalues = (1 / lengths**2 - WHITENING_EPSILON)[:, None]
    torch.testing.assert_close(filters @ moments, eigenvalues * filters, rtol=1e-3, atol=1e-4 * lengths.max().item())
    assert (lengths.diff() >= -1e-5 * lengths.max()).all()  # by falling eigenvalue
    assert (filters.gather(1, filters.abs().argmax(1, keepdim=True)) > 0).all()


def test_images_without_contrast_give_finite_filters() -> None:
    assert whitening_filters(torch.zeros(3, 3, 8, 8), 2).isfinite().all()


def test_chunks_of_images_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    images = natural_images(50)
    whole = whitening_filters(images, 2)
    monkeypatch.setattr("cifar.networks.initialization.PATCHES_AT_ONCE", 7 * 32 * 32)
    torch.testing.assert_close(whitening_filters(images, 2), whole)


def test_fewer_filters_are_the_leading_eigenvectors() -> None:
    images = natural_images(50)
    network = built(replace(FastResNetConfig(), whitening_width=8))
    network.initialize_from(images)
    leading = whitening_filters(images, 2)[:4]
    assert torch.equal(network.state_dict()["stem.conv.weight"], torch.cat((leading, -leading)))


# Start and structure.


def test_by_dirac_a_stage_passes_its_inputs_on() -> None:
    network = built(FastResNetConfig(convolutions=3))
    for name in ("stages.1.conv", "stages.1.branch.body.0.conv", "stages.1.branch.body.conv"):
        conv = network.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        x = torch.randn(2, conv.in_channels, 8, 8)
        torch.testing.assert_close(conv(x)[:, : conv.in_channels], x)
    widened = network.get_submodule("stages.1.conv").weight
    assert isinstance(widened, Tensor)
    assert (widened[32:].flatten(1).abs().sum(1) > 0).all()
    other = built(FastResNetConfig(initialization="kaiming")).get_submodule("stages.1.conv")
    x = torch.randn(2, 32, 8, 8)
    assert (other(x)[:, :32] - x).abs().max() > 0.1


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("convolutions", [2, 3])
def test_a_skip_adds_the_stages_first_half(activation: Any, convolutions: int) -> None:
    config = replace(SMALL, activation=activation, convolutions=convolutions)
    residual, plain = built(config), built(replace(config, residual=False))
    plain.load_state_dict(residual.state_dict())
    names = [f"stages.{s}.branch" for s in range(3)]
    assert [isinstance(residual.get_submodule(name), Skip) for name in names] == [True] * 3
    skip, branch = residual.eval().get_submodule("stages.1.branch"), plain.eval().get_submodule("stages.1.branch")
    assert isinstance(branch, nn.Sequential)
    x = torch.randn(2, 24, 4, 4)
    before = branch[1](branch[0](x))
    act = F.gelu if activation == "gelu" else F.relu
    torch.testing.assert_close(branch(x), act(before))
    torch.testing.assert_close(skip(x), act(before + x))


def test_logits_are_scaled_and_the_momentum_is_pytorchs() -> None:
    config = replace(SMALL, logit_scale=1.0, norm_momentum=0.25)
    whole, ninth = built(config), built(replace(config, logit_scale=1 / 9))
    ninth.load_state_dict(whole.state_dict())
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(ninth.eval()(images), whole.eval()(images) / 9)
    norm = whole.train().get_submodule("stages.0.norm")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    x = torch.randn(4, 16, 7, 7) + 2
    norm(x)
    torch.testing.assert_close(norm.running_mean, 0.25 * x.mean((0, 2, 3)))


def test_any_image_size_gives_logits() -> None:
    network = built(SMALL).eval()
    for size in (9, 12, 24, 40):
        assert network(torch.randn(2, 3, size, size)).shape == (2, 4)


@pytest.mark.skipif(batch_norm._kernel(torch.float32) is None, reason="no kernel: needs Linux, GNU OpenMP, a compiler")
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_every_norm_runs_in_the_kernel_and_changes_no_gradient(
    activation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = FastResNetConfig(widths=(16, 32, 32), convolutions=3, activation=activation)
    network = built(config).to(memory_format=torch.channels_last)
    other = built(config).to(memory_format=torch.channels_last)
    other.load_state_dict(network.state_dict())
    images = natural_images(16).contiguous(memory_format=torch.channels_last)
    fused: list[bool] = []
    kernel_for = batch_norm._kernel_for

    def watched(norm: nn.Module, x: Tensor, residual: Tensor | None) -> Any:
        kernel = kernel_for(norm, x, residual)
        fused.append(kernel is not None)
        return kernel

    monkeypatch.setattr(batch_norm, "_kernel_for", watched)
    F.cross_entropy(network(images), torch.arange(16) % 10).backward()  # type: ignore[no-untyped-call]
    assert fused == [True] * sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == [True] * 9
    monkeypatch.setattr(batch_norm, "_kernel_for", lambda *_: None)
    F.cross_entropy(other(images), torch.arange(16) % 10).backward()  # type: ignore[no-untyped-call]
    for (name, parameter), twin in zip(network.named_parameters(), other.parameters(), strict=True):
        assert (parameter.grad is None) == (twin.grad is None) == (not parameter.requires_grad), name
        if parameter.grad is not None and twin.grad is not None:
            assert (parameter.grad - twin.grad).norm() <= 1e-2 * twin.grad.norm() + 1e-4, name


def test_without_a_bias_the_backward_pass_ends_before_the_stem() -> None:
    config = replace(SMALL, stem_bias=False)
    assert config.cost().parameters == SMALL.cost().parameters - SMALL.whitening_width
    network = built(config)
    seen: list[Tensor] = []
    first = network.get_submodule("stages.0.conv")
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(natural_images(4, 16))
    assert [x.requires_grad for x in seen] == [False]
    assert not any(p.requires_grad for p in network.get_submodule("stem").parameters())


# Training.


OTHERWISE = replace(SMALL, convolutions=3, residual=False, activation="relu", frozen_norm_scale=False, logit_scale=1.0)


@pytest.mark.parametrize("network", [SMALL, OTHERWISE], ids=["default", "otherwise"])
def test_it_learns_and_keeps_its_stem(split: TrainingSplit, network: FastResNetConfig) -> None:
    run = training(split, network, epochs=8)
    before = run.network.state_dict()["stem.conv.weight"].clone()
    results = list(run.run())
    assert results[-1].val_loss is not None
    assert results[-1].val_loss < 1.1  # chance is ln 4 = 1.386
    assert results[-1].val_accuracy is not None
    assert results[-1].val_accuracy > 0.6
    after = run.final_network().state_dict()
    assert torch.equal(after["stem.conv.weight"], before)
    assert after["stem.conv.bias"].abs().max() > 0
    first = normalize(split.train.images, run.normalization)
    filters = whitening_filters(first, 2)
    assert torch.equal(before, torch.cat((filters, -filters)))


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_equal_seeds_give_equal_weights_and_others_do_not(split: TrainingSplit) -> None:
    first, again, other = (training(split, epochs=1, seed=seed) for seed in (1, 1, 2))
    for run in (first, again, other):
        list(run.run())
    assert same(first.final_network().state_dict(), again.final_network().state_dict())
    assert not torch.equal(first.network.state_dict()["fc.weight"], other.network.state_dict()["fc.weight"])


def test_a_run_continued_after_every_epoch_ends_in_the_same_weights(split: TrainingSplit, tmp_path: Path) -> None:
    through = training(split)
    list(through.run())
    for epoch in range(3):
        part = training(split, load_pretrained=epoch == 0)
        if epoch:
            part.load_state_dict(checkpoint.load(tmp_path / "state.pt"))
        next(part.run())
        checkpoint.save(tmp_path / "state.pt", part.state_dict())
    assert same(part.final_network().state_dict(), through.final_network().state_dict())


def test_a_loaded_model_needs_no_images(split: TrainingSplit, tmp_path: Path) -> None:
    run = training(split, epochs=1)
    list(run.run())
    candidate = Candidate(SMALL, RECIPE)
    model = checkpoint.TrainedModel(run.final_network(), candidate, run.normalization, split.class_names)
    checkpoint.save_model(tmp_path, model)
    loaded = checkpoint.load_model(tmp_path)
    images = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(loaded.network(images), model.network(images))
    stem = loaded.network.state_dict()["stem.conv.weight"]
    assert torch.equal(stem, run.network.state_dict()["stem.conv.weight"])


# What any network may ask for.


class Recorder(nn.Sequential):
    """Remembers the images that it starts from."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
        self.seen: list[Tensor] = []

    def initialize_from(self, images: Tensor) -> None:
        self.seen.append(images)


@dataclass(frozen=True)
class RecorderConfig:
    """Describes a `Recorder`."""

    kind: str = "recorder_for_test"
    image_size: int = 16

    def build(self) -> nn.Module:
        return Recorder()

    def cost(self) -> Cost:
        return Cost(3076, 3072)

    def with_classes(self, num_classes: int, image_size: int) -> RecorderConfig:
        return self


def test_own_networks_start_from_normalized_images_once(split: TrainingSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cifar.train.INITIALIZING_PIXELS", 100 * 16 * 16)
    register(RecorderConfig)
    try:
        fresh = training(split, RecorderConfig(), epochs=1)
        resumed = training(split, RecorderConfig(), epochs=1, load_pretrained=False)
        list(fresh.run())
        assert isinstance(fresh.network, Recorder)
        assert isinstance(fresh.network, InitializedFromData)
        (seen,) = fresh.network.seen
        assert torch.equal(seen, normalize(split.train.images[:100], fresh.normalization))
        assert isinstance(resumed.network, Recorder)
        assert not resumed.network.seen
    finally:
        del NETWORKS["recorder_for_test"]
