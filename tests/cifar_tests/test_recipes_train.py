"""Every recipe trains, and each of the settings that recipes name does what it says."""

from __future__ import annotations

import io
import math
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cifar.candidate import Candidate
from cifar.data.images import ImageSet, channel_statistics
from cifar.data.prepare import prepare
from cifar.data.splits import TrainingSplit, load_training_split
from cifar.data.toy import toy_npz
from cifar.errors import ConfigError
from cifar.networks.imagenet import TransferConfig
from cifar.networks.reference import CnnConfig
from cifar.networks.resnet import ResNetConfig
from cifar.optim import lr_factor
from cifar.parameter_groups import parameter_groups
from cifar.prediction import predict_probabilities
from cifar.recipe import Augmentation, Optimizer, Recipe, Schedule, Statistics, recipe_names
from cifar.runtime.device import Device, choose_device
from cifar.runtime.seeds import use_deterministic_algorithms
from cifar.train import EpochResult, Training

CPU = Device(torch.device("cpu"), None)
IMAGES = 320  # real ones, of which a recipe trains on 256 or less
SLOW = {
    "gpu_long",
    "resnet18_transfer",
    "resnet50_adamw",
    "resnet18_cifar",
    "resnet24_budget5m",
    "resnet24_budget5m_w64",
    "resnet_3_5_3",
}
TINY = CnnConfig(stages=((8,), (16,)), hidden=(), norm=True, dropout=0.0, num_classes=4, image_size=16)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def some_real_images(real_images: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingSplit:
    folder = tmp_path_factory.mktemp("real")
    prepared = prepare(_first_of_each_class(real_images, folder / "real.npz"), cache=folder)
    return load_training_split(prepared, val_size=64, train_size=256)


def _first_of_each_class(source: Path, npz: Path) -> Path:
    """A few images of an archive of training images by class, without decoding the rest; other sources as they are."""
    if not (source.is_file() and tarfile.is_tarfile(source)):
        return source
    images, labels = [], []
    with tarfile.open(source) as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            if "train" in path.parts and path.stem.isdecimal() and int(path.stem) < IMAGES // 10:
                content = archive.extractfile(member)
                assert content is not None
                images.append(np.asarray(Image.open(io.BytesIO(content.read())).convert("RGB")).transpose(2, 0, 1))
                labels.append(path.parent.name)
    if not images:
        return source
    names = sorted(set(labels))
    np.savez(npz, train_images=np.stack(images), train_labels=np.array([names.index(label) for label in labels]))
    return npz


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> TrainingSplit:
    folder = tmp_path_factory.mktemp("toy")
    return load_training_split(prepare(toy_npz(folder / "toy.npz", train=500, size=16), cache=folder), val_size=100)


def tiny(**recipe: Any) -> Candidate:
    plain = {
        "batch_size": 50,
        "optimizer": Optimizer("adam", lr=3e-3, weight_decay=0.0),
        "schedule": Schedule("constant"),
        "augmentation": Augmentation(flip=False, crop_padding=0),
    }
    return Candidate(TINY, Recipe(**(plain | recipe)))  # type: ignore[arg-type]


def run(candidate: Candidate, split: TrainingSplit, epochs: float, seed: int = 0) -> tuple[Training, list[EpochResult]]:
    training = Training(candidate, split, device=CPU, epochs=epochs, seed=seed)
    return training, list(training.run())


# Every recipe.


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in recipe_names()])
def test_every_recipe_trains_an_epoch_on_real_images(name: str, some_real_images: TrainingSplit) -> None:
    candidate = Candidate.named(name).for_data(10, 32)
    split = some_real_images
    if isinstance(candidate.network, TransferConfig):
        candidate = replace(candidate, network=replace(candidate.network, weights="random"))
        split = replace(
            split, train=replace(split.train, images=split.train.images[:64], labels=split.train.labels[:64])
        )
    training = Training(candidate, split, device=choose_device("cpu"), epochs=1, seed=0)
    before = {key: value.clone() for key, value in training.network.state_dict().items()}
    (result,) = training.run()
    assert math.isfinite(result.train_loss)
    assert result.images == len(split.train) // training.batch_size * training.batch_size
    assert result.val_loss is not None
    assert math.isfinite(result.val_loss)
    frozen = {key for key, p in training.network.named_parameters() if not p.requires_grad}
    after = training.final_network().state_dict()
    for key, value in before.items():
        assert value.isfinite().all(), key
        if key.endswith("weight"):
            assert torch.equal(after[key], value) == (key in frozen), key


# Recipes for GPUs.


def test_the_wide_sibling_differs_in_its_widths_alone() -> None:
    wide, named = Candidate.named("resnet24_budget5m_w64"), Candidate.named("resnet24_budget5m")
    assert isinstance(wide.network, ResNetConfig)
    assert replace(wide.network, channels=(66, 132, 264), stem=66) == named.network
    assert wide.recipe == named.recipe


@pytest.mark.parametrize("name", ["resnet24_budget5m_w64", "gpu_long"])
def test_widths_for_tensor_cores_are_multiples_of_16_within_the_limit(name: str) -> None:
    network = Candidate.named(name).network
    assert isinstance(network, ResNetConfig)
    assert all(width % 16 == 0 for width in (network.stem, *network.channels))
    assert network.cost().parameters < 5_000_000


def test_the_rates_for_seconds_on_a_gpu_are_airbenchs_for_the_mean_loss() -> None:
    """Those of airbench94_muon.py are for the summed loss of a batch and logits divided by 256."""
    candidate = Candidate.named("gpu_fast")
    batch, others, head, decay = candidate.recipe.batch_size, 0.053, 0.67, 2e-6
    orthogonal, linear, biases = parameter_groups(candidate.network.build(), candidate.recipe.optimizer)
    assert orthogonal["lr"] == 0.24
    assert biases["lr"] == pytest.approx(others * batch, rel=1e-3)
    scale = (1 / 9) / (1 / 256)  # of our logits for the same weights; the gradient has it too
    assert linear["lr"] * scale**2 == pytest.approx(head * batch, rel=1e-3)
    for group in (orthogonal, linear, biases):
        assert group["lr"] * group["weight_decay"] == pytest.approx(decay * batch, rel=1e-3)


# Learning rates.


def rates(name: str, steps_an_epoch: int = 10) -> list[float]:
    recipe = Candidate.named(name).recipe
    steps = round(recipe.epochs * steps_an_epoch)
    return [recipe.optimizer.peak_lr * lr_factor(recipe, step / steps) for step in range(steps)]


def test_resnet9s_cycle_is_the_published_one() -> None:
    lr = rates("resnet9_onecycle")
    assert lr[0] == pytest.approx(0.004)
    assert max(range(len(lr)), key=lr.__getitem__) == 5 * 10
    assert lr[50] == pytest.approx(0.04)
    assert lr[25] == pytest.approx(0.022)  # linear: half of the way after half of the time
    assert lr[50 + 95] == pytest.approx(0.022)
    assert lr[-1] == pytest.approx(0.004, rel=0.06)
    assert len({round(after - before, 9) for before, after in pairwise(lr[:51])}) == 1


def test_training_follows_the_cycle(toy: TrainingSplit) -> None:
    recipe = replace(Candidate.named("resnet9_onecycle").recipe, batch_size=50)
    _, results = run(Candidate(TINY, recipe), toy, epochs=24)
    expected = [0.04 * lr_factor(recipe, (8 * epoch - 1) / (8 * 24)) for epoch in range(1, 25)]  # 400 / 50 steps
    assert [result.lr for result in results] == pytest.approx(expected)
    assert max(expected) < 0.04  # the peak is a step's, the first of epoch 6


@pytest.mark.parametrize("name", ["resnet_16_32_64", "cnn_64_128_256"])
def test_steps_halve_the_rate_every_ten_epochs(name: str) -> None:
    lr = rates(name)
    assert lr[:300] == pytest.approx([lr[0] * 0.5 ** (epoch // 10) for epoch in range(30) for _ in range(10)])


def test_the_contest_recipe_warms_up_and_decays_along_a_cosine() -> None:
    lr = rates("resnet24_budget5m")
    assert lr[50] == pytest.approx(0.05)
    assert lr[100] == pytest.approx(0.1)
    assert lr[100 + 250] == pytest.approx(0.05)
    assert lr[-1] < 1e-5


@pytest.mark.parametrize("name", ["resnet18_transfer", "resnet50_adamw", "baseline_cnn"])
def test_constant_rates(name: str) -> None:
    assert len(set(rates(name))) == 1


def test_an_unresolved_rate_is_refused_before_anything_is_built(toy: TrainingSplit) -> None:
    unresolved = tiny(optimizer=Optimizer(lr="range_test"))
    with pytest.raises(ConfigError, match=r"optimizer\.lr as a number; got 'range_test'"):
        Training(unresolved, toy, device=CPU, epochs=1, seed=0)


# Early stopping, and which weights are kept.


class Scripted(Training):
    """Training whose validation says what a test scripts: (loss, accuracy) of each epoch."""

    script: list[tuple[float, float]]

    def _validate(self) -> tuple[float, float]:
        return self.script[self.epoch - 1]


def scripted(candidate: Candidate, split: TrainingSplit, script: list[tuple[float, float]]) -> Scripted:
    training = Scripted(candidate, split, device=CPU, epochs=len(script), seed=0)
    training.script = script
    return training


SCRIPT = [(1.0, 0.3), (0.8, 0.5), (0.9, 0.6), (0.85, 0.55), (0.82, 0.59), (0.7, 0.7), (0.6, 0.8)]


@pytest.mark.parametrize(
    ("monitor", "patience", "stops_after", "best"),
    [("val_loss", 3, 5, 2), ("val_accuracy", 2, 5, 3), ("val_accuracy", 3, 7, 7), ("val_loss", 0, 7, 7)],
)
def test_early_stopping_waits_its_patience_and_keeps_the_best_weights(
    monitor: Any, patience: int, stops_after: int, best: int, toy: TrainingSplit
) -> None:
    training = scripted(tiny(early_stopping=patience, monitor=monitor, keep="best"), toy, SCRIPT)
    weights = []
    for _ in training.run():
        weights.append({key: value.clone() for key, value in training.network.state_dict().items()})
    assert len(weights) == stops_after
    for key, value in training.final_network().state_dict().items():
        assert torch.equal(value, weights[best - 1][key]), key


def test_early_stopping_ends_a_run_that_overfits(toy: TrainingSplit) -> None:
    """On 40 images of random labels the validation loss soon rises, and no test image is needed to see it."""
    few = replace(toy.train, images=toy.train.images[:40], labels=torch.arange(40) % 4)
    stopping = tiny(early_stopping=4, monitor="val_loss", keep="best", batch_size=10)
    training, results = run(stopping, replace(toy, train=few), epochs=60)
    losses = [result.val_loss for result in results]
    assert len(results) < 60
    assert losses.index(min(losses)) == len(results) - 1 - 4  # type: ignore[type-var]
    kept = predict_probabilities(
        training.final_network(), toy.val.images, training.normalization, device=CPU.torch_device
    )
    found = torch.nn.functional.nll_loss(kept.clamp_min(1e-12).log(), toy.val.labels).item()
    assert found == pytest.approx(min(losses), rel=1e-5)  # type: ignore[type-var]


# Data handling.


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("cifar10", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        ("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("half", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("computed", None, None),
    ],
)
def test_the_network_sees_images_by_the_recipes_statistics(
    name: Statistics, mean: tuple[float, ...] | None, std: tuple[float, ...] | None, toy: TrainingSplit
) -> None:
    if mean is None or std is None:
        mean, std = channel_statistics(toy.train.images)
    training = Training(tiny(statistics=name), toy, device=CPU, epochs=1, seed=0)
    seen: list[torch.Tensor] = []
    training.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    list(training.run())
    images = torch.cat(seen[:8]).mean((0, 2, 3))  # of the 8 batches of the epoch: all training images, in any order
    expected = (toy.train.images / 255).mean((0, 2, 3)).sub(torch.tensor(mean)).div(torch.tensor(std))
    torch.testing.assert_close(images, expected, rtol=1e-3, atol=1e-3)
    validation = torch.cat(seen[8:])
    shifted = (toy.val.images / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(validation, shifted, rtol=1e-4, atol=1e-4)


def test_computed_statistics_are_those_of_the_training_images_alone(toy: TrainingSplit) -> None:
    dark = replace(toy, val=replace(toy.val, images=torch.zeros_like(toy.val.images)))
    one = Training(tiny(statistics="computed"), toy, device=CPU, epochs=1, seed=0)
    other = Training(tiny(statistics="computed"), dark, device=CPU, epochs=1, seed=0)
    assert one.normalization == other.normalization
    assert one.normalization.mean == pytest.approx(channel_statistics(toy.train.images)[0])


def fed(candidate: Candidate, split: TrainingSplit) -> torch.Tensor:
    """The training images (N, 3, H, W) that the network sees in an epoch by the statistics `half`, in [0, 1]."""
    nothing = ImageSet(split.val.images[:0], split.val.labels[:0])
    training = Training(candidate, replace(split, val=nothing), device=CPU, epochs=1, seed=0)
    seen: list[torch.Tensor] = []
    training.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    list(training.run())
    return torch.cat(seen) * 0.5 + 0.5


def test_erasing_is_black_and_cutout_the_mean(toy: TrainingSplit) -> None:
    """Erasing comes before normalisation, so an erased pixel is black; a cut-out one is 0 after it."""
    quiet = Augmentation(flip=False, crop_padding=0)
    erased = fed(tiny(statistics="half", augmentation=replace(quiet, erasing=1.0)), toy)
    cut = fed(tiny(statistics="half", augmentation=replace(quiet, cutout=8)), toy)
    plain = fed(tiny(statistics="half"), toy)
    black = (erased.abs() < 1e-4).all(1).float().mean((1, 2))
    grey = ((cut - 128 / 255).abs() < 1e-4).all(1).float().mean((1, 2))
    assert 0.02 <= black.mean() <= 0.33
    assert (black > 0.01).float().mean() > 0.99
    assert grey.max() <= (8 * 8 + 2) / 256
    assert grey.min() >= 16 / 256
    assert (plain.abs() < 1e-4).all(1).float().mean() < 0.01


def test_mixup_and_cutmix_mix_images_and_keep_the_loss_high(toy: TrainingSplit) -> None:
    quiet = Augmentation(flip=False, crop_padding=0)
    losses = {}
    recipes = {"mixup": replace(quiet, mixup=1.0), "cutmix": replace(quiet, cutmix=1.0), "none": quiet}
    for name, augmentation in recipes.items():
        _, results = run(tiny(augmentation=augmentation), toy, epochs=12)
        losses[name] = results[-1].train_loss
        assert results[-1].val_accuracy is not None
        assert results[-1].val_accuracy > 0.45
    assert min(losses["mixup"], losses["cutmix"]) > losses["none"] + 0.2
    plain = fed(tiny(statistics="half"), toy)
    mixed = fed(tiny(statistics="half", augmentation=replace(quiet, mixup=1.0)), toy)
    boxed = fed(tiny(statistics="half", augmentation=replace(quiet, cutmix=1.0)), toy)
    assert mixed.std() < 0.95 * plain.std()  # averages vary less
    torch.testing.assert_close(boxed.mean(), plain.mean(), rtol=0.02, atol=0)
    assert boxed.std() == pytest.approx(plain.std().item(), rel=0.02)  # pasted pixels are pixels


def test_label_smoothing_has_a_floor_that_hard_labels_do_not_have(toy: TrainingSplit) -> None:
    """With smoothing s over 4 classes no prediction has a loss below the entropy of the smoothed target."""
    few, nothing = (ImageSet(toy.train.images[:count], toy.train.labels[:count]) for count in (50, 0))
    split = replace(toy, train=few, val=nothing)
    smoothing = 0.2
    right, wrong = 1 - smoothing * 3 / 4, smoothing / 4
    floor = -right * math.log(right) - 3 * wrong * math.log(wrong)
    fast = Optimizer("adam", lr=1e-2, weight_decay=0.0)
    _, smooth = run(tiny(label_smoothing=smoothing, optimizer=fast), split, epochs=60)
    _, hard = run(tiny(optimizer=fast), split, epochs=60)
    assert floor <= smooth[-1].train_loss < floor + 0.2
    assert hard[-1].train_loss < 0.2 < floor


def test_dropout_acts_in_training_only(toy: TrainingSplit) -> None:
    network = CnnConfig(stages=((8,),), hidden=(64,), dropout=0.5, num_classes=4, image_size=16).build()
    images = torch.randn(4, 3, 16, 16)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


# Repeating a run.


@pytest.fixture
def deterministic() -> Iterator[None]:
    benchmark = torch.backends.cudnn.benchmark
    use_deterministic_algorithms()
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = benchmark


@pytest.mark.usefixtures("deterministic")
def test_equal_seeds_give_equal_weights_and_others_do_not(toy: TrainingSplit) -> None:
    busy = Augmentation(randaugment_ops=2, erasing=0.5, cutout=4, brightness=0.2, rotation=10, mixup=0.2, cutmix=1.0)
    network = ResNetConfig(
        blocks=(1, 1, 1), channels=(8, 8, 8), stem=8, dropout=0.2, stochastic_depth=0.2, num_classes=4, image_size=16
    )
    candidate = Candidate(network, replace(tiny().recipe, augmentation=busy, ema_decay=0.9))
    first, again, other = (run(candidate, toy, 2, seed)[0].final_network().state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["fc.weight"], other["fc.weight"])
