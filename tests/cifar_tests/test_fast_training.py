"""What fast training uses: each setting trains, resumes bit for bit, survives JSON and TOML, and changes something."""

from __future__ import annotations

import itertools
import json
import tomllib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cifar import checkpoint
from cifar.candidate import Candidate
from cifar.config import from_dict, to_dict
from cifar.data.images import ImageSet
from cifar.data.prepare import prepare
from cifar.data.splits import TrainingSplit, load_training_split
from cifar.data.toy import toy_npz
from cifar.errors import ConfigError
from cifar.loader import Loader
from cifar.lr_range import range_test
from cifar.networks.resnet import ResNetConfig
from cifar.normalization import GIVEN_STATISTICS
from cifar.recipe import Augmentation, Optimizer, Recipe, Schedule
from cifar.runtime.device import choose_device
from cifar.train import EpochResult, Training

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = choose_device("cpu")
NETWORK = ResNetConfig(blocks=(1, 1, 1), channels=(8, 16, 16), stem=8, num_classes=4, image_size=16)
PLAIN = Recipe(
    batch_size=32,
    optimizer=Optimizer("sgd", lr=0.3, nesterov=True),
    schedule=Schedule("one_cycle", warmup_epochs=12),
    augmentation=Augmentation(crop_padding=2),
)
MUON = Optimizer("muon", lr=0.1, momentum=0.6, nesterov=True, weight_decay=1e-3)
SETTINGS: dict[str, dict[str, Any]] = {  # by what is changed in PLAIN
    "muon": {"optimizer": MUON},
    "muon as in airbench": {
        "optimizer": replace(MUON, renormalize_filters=True, other_lr_factor=0.5, head_lr_factor=4.0)
    },
    "bias rate": {"optimizer": replace(PLAIN.optimizer, bias_lr_factor=4.0, decay_norm_and_bias=False)},
    "head rate": {"optimizer": replace(PLAIN.optimizer, head_lr_factor=2.0)},
    "lookahead": {"lookahead_steps": 3},
    "lookahead and moving average": {"lookahead_steps": 3, "lookahead_decay": 0.8, "ema_decay": 0.9},
    "warm-up, stable, decay": {"schedule": Schedule("constant", warmup_epochs=6, cooldown_epochs=20)},
    "cool-down by the root": {"schedule": Schedule("cosine", cooldown_epochs=20, cooldown_shape="sqrt")},
    "alternating flip": {"augmentation": replace(PLAIN.augmentation, alternating_flip=True)},
    "reflecting crop": {"augmentation": replace(PLAIN.augmentation, crop_mode="reflect")},
    "ricap": {"augmentation": replace(PLAIN.augmentation, ricap=0.3)},
    "some batches mixed": {
        "augmentation": replace(PLAIN.augmentation, mixup=0.2, cutmix=1.0, ricap=0.3, mixing_probability=0.5)
    },
    "progressive resizing": {"resolution_start": 0.75, "full_resolution_after": 0.4},
}
EPOCHS, PAUSES = 6, (2, 4)
each_setting = pytest.mark.parametrize("name", SETTINGS)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> TrainingSplit:
    folder = tmp_path_factory.mktemp("toy")
    return load_training_split(prepare(toy_npz(folder / "toy.npz", train=640, size=16), cache=folder), val_size=128)


@cache
def recipe(name: str) -> Recipe:
    return replace(PLAIN, **SETTINGS[name])


def training(split: TrainingSplit, chosen: Recipe, **network: Any) -> Training:
    return Training(Candidate(replace(NETWORK, **network), chosen), split, device=CPU, epochs=EPOCHS, seed=5)


def weights(run: Training) -> dict[str, Tensor]:
    return run.final_network().state_dict()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


class Runs(dict[str, tuple[Training, list[EpochResult]]]):
    """Each setting and `plain`, trained through when it is first asked for."""

    def __init__(self, split: TrainingSplit) -> None:
        super().__init__()
        self.split = split

    def __missing__(self, name: str) -> tuple[Training, list[EpochResult]]:
        run = training(self.split, PLAIN if name == "plain" else recipe(name))
        self[name] = (run, list(run.run()))
        return self[name]


@pytest.fixture(scope="module")
def runs(split: TrainingSplit) -> Runs:
    return Runs(split)


@each_setting
def test_the_loss_falls_and_the_classes_are_learnt(name: str, runs: Runs) -> None:
    _, results = runs[name]
    assert results[-1].train_loss < 0.8 * results[0].train_loss
    assert results[-1].val_accuracy is not None
    assert results[-1].val_accuracy > 0.5  # chance: 0.25


@each_setting
def test_it_changes_something(name: str, runs: Runs) -> None:
    assert not same(weights(runs[name][0]), weights(runs["plain"][0]))


@each_setting
def test_a_paused_run_ends_in_the_same_weights(name: str, runs: Runs, split: TrainingSplit, tmp_path: Path) -> None:
    run = training(split, recipe(name))
    found = list(itertools.islice(run.run(), PAUSES[0]))
    for end in (PAUSES[1], EPOCHS):
        checkpoint.save(tmp_path / "state.pt", run.state_dict())
        run = training(split, recipe(name))
        run.load_state_dict(checkpoint.load(tmp_path / "state.pt"))
        found += itertools.islice(run.run(), end - run.epoch)
    through, expected = runs[name]
    assert same(weights(run), weights(through))
    assert [(r.train_loss, r.val_loss, r.lr) for r in found] == [(r.train_loss, r.val_loss, r.lr) for r in expected]


@each_setting
def test_json_and_toml_keep_it(name: str, tmp_path: Path) -> None:
    candidate = Candidate(NETWORK, recipe(name))
    described = candidate.to_dict()
    assert Candidate.from_dict(json.loads(json.dumps(described)), where=name) == candidate
    assert candidate.fingerprint != Candidate(NETWORK, PLAIN).fingerprint
    path = tmp_path / "recipe.toml"
    path.write_text(toml(described))
    assert tomllib.loads(path.read_text()) == described
    assert Candidate.from_toml(path) == candidate


def toml(tables: dict[str, Any], path: tuple[str, ...] = ()) -> str:
    """TOML of nested tables of numbers, texts and lists, which it writes as JSON does."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in tables.items() if not isinstance(value, dict)]
    nested = [toml(value, (*path, key)) for key, value in tables.items() if isinstance(value, dict)]
    return "\n".join([f"[{'.'.join(path)}]" * bool(path), *plain, *nested])


def test_recipes_without_them_do_not_name_them() -> None:
    named = {key for key, value in to_dict(PLAIN).items() if not isinstance(value, dict)}
    assert not named & {"lookahead_steps", "lookahead_decay", "resolution_start", "full_resolution_after"}
    assert from_dict(Recipe, to_dict(PLAIN), where="test") == PLAIN


def test_the_network_has_the_slow_weights_after_every_epoch(split: TrainingSplit) -> None:
    run = training(split, recipe("lookahead"))
    assert run.lookahead is not None
    for _ in run.run():
        assert all(torch.equal(*pair) for pair in zip(run.lookahead.slow, run.lookahead.fast, strict=True))


def test_the_network_sees_small_images_first(split: TrainingSplit) -> None:
    run = training(split, recipe("progressive resizing"))
    sides: list[int] = []
    run.network.register_forward_pre_hook(
        lambda network, inputs: sides.append(inputs[0].shape[-1]) if network.training else None
    )
    for result in run.run():
        assert result.val_accuracy is not None
    steps = len(sides)
    assert steps == EPOCHS * 16
    assert sides == [12] * 39 + [16] * (steps - 39)  # full size from 40 % of 96 steps on: step 38.4


def test_a_network_for_one_size_is_refused_before_training(split: TrainingSplit) -> None:
    with pytest.raises(ConfigError, match="resolution_start needs a network that takes images of any size"):
        training(split, recipe("progressive resizing"), pool=4)


# The alternating flip.


def alternating_loader(count: int, seed: int) -> tuple[Loader, Tensor]:
    images = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8)
    only_flip = Augmentation(crop_padding=0, alternating_flip=True)
    chosen = Recipe(batch_size=8, augmentation=only_flip)
    return Loader(ImageSet(images, torch.arange(count)), chosen, GIVEN_STATISTICS["half"], seed=seed), images


def mirrored(loader: Loader, images: Tensor, epoch: int) -> list[bool]:
    """Whether each image is mirrored in an epoch."""
    found = {}
    for batch, numbers in loader.batches(torch.Generator().manual_seed(epoch), epoch):
        pixels = ((batch * 0.5 + 0.5) * 255).round().to(torch.uint8)
        for image, number in zip(pixels, numbers.tolist(), strict=True):
            found[number] = torch.equal(image, images[number].flip(-1))
            assert found[number] or torch.equal(image, images[number])
    return [found[number] for number in range(len(images))]


def test_every_image_is_mirrored_in_every_other_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cifar.loader.AUGMENTED_AT_ONCE", 16)  # several chunks
    loader, images = alternating_loader(64, seed=1)
    first = mirrored(loader, images, epoch=0)
    assert 15 < sum(first) < 49
    for epoch in (1, 2, 3, 8):
        expected = [not side for side in first] if epoch % 2 else first
        assert mirrored(loader, images, epoch) == expected


def test_the_start_depends_on_the_seed_alone() -> None:
    starts = [alternating_loader(64, seed)[0].mirrored_first for seed in (1, 1, 2)]
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


# The range test.


def test_a_range_test_moves_all_of_muons_rates_together(split: TrainingSplit) -> None:
    run = training(split, recipe("muon as in airbench"))
    rates = []
    for _ in run.steps([0.01, 0.2]):
        rates.append([group["lr"] for group in run.optimizer.param_groups])
    assert rates[0] == pytest.approx([0.01, 0.005, 0.02])  # convolutions, others, head
    assert rates[1] == pytest.approx([20 * rate for rate in rates[0]])


def test_a_range_test_leaves_lookahead_out(split: TrainingSplit) -> None:
    found, expected = (
        range_test(Candidate(NETWORK, chosen), split, device=CPU, seed=0, low=1e-3, high=1.0, steps=20)
        for chosen in (recipe("lookahead"), PLAIN)
    )
    assert found == expected
