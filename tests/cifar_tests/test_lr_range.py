"""The learning-rate range test: what it measures, where it stops, what it leaves alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from cifar.candidate import Candidate
from cifar.data.prepare import prepare
from cifar.data.splits import TrainingSplit, load_training_split
from cifar.data.toy import toy_npz
from cifar.errors import ConfigError
from cifar.lr_range import RangeTest, range_test, suggest_lr
from cifar.networks.resnet import ResNetConfig
from cifar.recipe import Augmentation, Optimizer, Recipe, Schedule
from cifar.runtime.device import Device
from cifar.train import Training

CPU = Device(torch.device("cpu"), None)
NETWORK = ResNetConfig(blocks=(1, 1, 1), channels=(8, 16, 16), stem=8, num_classes=4, image_size=16)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> TrainingSplit:
    folder = tmp_path_factory.mktemp("toy")
    prepared = prepare(toy_npz(folder / "toy.npz", train=600, test=4, size=16), cache=folder / "cache")
    return load_training_split(prepared, val_size=100)


def candidate(**changes: object) -> Candidate:
    recipe = Recipe(
        epochs=6,
        batch_size=25,
        optimizer=Optimizer("adamw"),
        schedule=Schedule("one_cycle", warmup_epochs=2),
        augmentation=Augmentation(crop_padding=0),
    )
    return Candidate(NETWORK, replace(recipe, **changes))  # type: ignore[arg-type]


def train(chosen: Candidate, split: TrainingSplit, lr: float) -> float:
    """Training loss of the last epoch."""
    recipe = replace(chosen.recipe, optimizer=replace(chosen.recipe.optimizer, lr=lr))
    training = Training(replace(chosen, recipe=recipe), split, device=CPU, epochs=6, seed=1)
    return [result.train_loss for result in training.run()][-1]


def test_training_at_the_suggested_rate_learns(split: TrainingSplit) -> None:
    chosen = candidate()
    result = range_test(chosen, split, device=CPU, seed=0)
    assert result.falls
    assert not result.doubt
    assert train(chosen, split, result.suggested) < 0.7 * math.log(4)
    assert train(chosen, split, 1e-3 * result.suggested) > 0.95 * math.log(4)


def test_rates_grow_exponentially_or_linearly_between_both_ends(split: TrainingSplit) -> None:
    exponential = range_test(candidate(), split, device=CPU, seed=0, low=1e-4, high=0.1, steps=10)
    assert exponential.lrs[0] == 1e-4
    assert exponential.lrs[-1] == 0.1
    assert [b / a for a, b in zip(exponential.lrs, exponential.lrs[1:], strict=False)] == pytest.approx(
        [1000 ** (1 / 9)] * 9
    )
    linear = range_test(candidate(), split, device=CPU, seed=0, low=1e-4, high=0.1, steps=10, linear=True)
    assert linear.lrs[-1] == 0.1
    assert [b - a for a, b in zip(linear.lrs, linear.lrs[1:], strict=False)] == pytest.approx([0.0999 / 9] * 9)
    for result in (exponential, linear):
        assert len(result.lrs) == len(result.losses) == len(result.smoothed) == 10
        assert result.stopped == "reached the highest rate"


def test_it_stops_where_the_loss_diverges(split: TrainingSplit) -> None:
    result = range_test(candidate(), split, device=CPU, seed=0, low=1e-3, high=1e8, steps=60)
    assert result.diverged
    assert len(result.lrs) < 60
    assert result.stopped == f"diverged at {result.lrs[-1]:.2g}"
    assert not result.smoothed[-1] <= 4 * min(result.smoothed[:-1])
    assert all(later <= 4 * min(result.smoothed[: i + 1]) for i, later in enumerate(result.smoothed[:-1]))


def test_a_loss_that_is_no_number_ends_it(split: TrainingSplit) -> None:
    result = range_test(candidate(), split, device=CPU, seed=0, low=1e30, high=1e38, steps=20)
    assert result.diverged
    assert not math.isfinite(result.losses[-1]) or result.losses[-1] > 4 * result.losses[0]
    assert not result.falls
    assert "lower rates" in result.doubt


def test_a_range_too_low_is_told(split: TrainingSplit) -> None:
    result = range_test(candidate(), split, device=CPU, seed=0, low=1e-9, high=1e-6, steps=20)
    assert not result.falls
    assert "higher rates" in result.doubt


def measured(*losses: float, diverged: bool = False) -> RangeTest:
    return RangeTest(tuple(10.0 ** (i - 5) for i in range(len(losses))), losses, losses, diverged)


def test_the_suggestion_is_a_tenth_of_the_rate_of_the_least_loss() -> None:
    result = measured(2.3, 2.2, 1.9, 1.5, 1.8, 9.9, diverged=True)
    assert result.suggested == pytest.approx(1e-3)
    assert not result.doubt
    assert "highest rate" in measured(2.3, 2.2, 1.9, 1.5).doubt
    assert measured(2.3, 2.2, 1.9, math.nan, diverged=True).suggested == pytest.approx(1e-4)
    assert measured(math.nan, diverged=True).suggested == 1e-5
    assert not measured(math.nan, diverged=True).falls


def test_passes_repeat_when_the_steps_need_more_images(split: TrainingSplit) -> None:
    result = range_test(candidate(batch_size=400), split, device=CPU, seed=0, high=1e-2, steps=12)
    assert len(result.losses) == 12  # 500 images: a step a pass


def test_it_leaves_weights_and_random_numbers_alone(split: TrainingSplit) -> None:
    chosen = candidate()
    before = Training(chosen, split, device=CPU, epochs=1, seed=5)
    weights = {key: value.clone() for key, value in before.network.state_dict().items()}
    images = split.train.images.clone()
    state = torch.get_rng_state()
    first = range_test(chosen, split, device=CPU, seed=5, steps=20)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(split.train.images, images)
    for network in (before.network, Training(chosen, split, device=CPU, epochs=1, seed=5).network):
        assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())
    torch.manual_seed(99)
    assert range_test(chosen, split, device=CPU, seed=5, steps=20) == first
    assert range_test(chosen, split, device=CPU, seed=6, steps=20) != first


def test_the_recipes_own_rate_does_not_matter(split: TrainingSplit) -> None:
    other = candidate(optimizer=Optimizer("adamw", lr=123.0), schedule=Schedule("cosine", 2), ema_decay=0.9)
    assert suggest_lr(other, split, device=CPU, seed=0) == suggest_lr(candidate(), split, device=CPU, seed=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"low": 1.0, "high": 0.1}, "highest rate of a range test must exceed the lowest"),
        ({"low": 1.0, "high": 1.0}, "highest rate of a range test must exceed the lowest"),
        ({"high": math.inf}, "highest rate"),
        ({"low": 0.0}, "lowest rate of a range test must be above 0"),
        ({"low": math.nan}, "lowest rate of a range test must be above 0"),
        ({"steps": 9}, "takes 10 steps or more; got 9"),
    ],
)
def test_impossible_ranges_are_refused(changes: dict[str, float], message: str, split: TrainingSplit) -> None:
    with pytest.raises(ConfigError, match=message):
        range_test(candidate(), split, device=CPU, seed=0, **changes)  # type: ignore[arg-type]


def test_without_a_falling_loss_a_recipe_gets_no_rate(split: TrainingSplit) -> None:
    images = torch.randint(0, 256, split.train.images.shape, dtype=torch.uint8)
    labels = torch.randint(0, 4, split.train.labels.shape)
    noise = TrainingSplit(replace(split.train, images=images, labels=labels), split.val, split.class_names)
    with pytest.raises(ConfigError, match=r"optimizer.lr = 'range_test' needs a loss that falls"):
        suggest_lr(candidate(), noise, device=CPU, seed=0)
