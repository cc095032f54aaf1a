"""Schedules agree with torch's own; optimizers reduce a loss; the moving average averages."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cifar.networks.resnet import ResNetConfig
from cifar.optim import Ema, build_optimizer, lr_factor, parameter_groups, set_lr
from cifar.recipe import Optimizer, Recipe, Schedule

STEPS_AN_EPOCH = 7


def factors(recipe: Recipe, epochs: int) -> list[float]:
    total = epochs * STEPS_AN_EPOCH
    return [lr_factor(recipe, step / total) for step in range(total)]


def torch_factors(make: object, epochs: int) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)  # type: ignore[operator]
    found = []
    for _ in range(epochs * STEPS_AN_EPOCH):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_step_equals_torchs_step_lr() -> None:
    recipe = Recipe(epochs=30, schedule=Schedule("step", step_epochs=10, gamma=0.5))
    expected = torch_factors(lambda o: torch.optim.lr_scheduler.StepLR(o, 10 * STEPS_AN_EPOCH, 0.5), 30)
    assert factors(recipe, 30) == pytest.approx(expected)


def test_cosine_equals_torchs_cosine_annealing() -> None:
    recipe = Recipe(epochs=12, schedule=Schedule("cosine"))
    expected = torch_factors(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 12 * STEPS_AN_EPOCH), 12)
    assert factors(recipe, 12) == pytest.approx(expected, abs=1e-6)


def test_one_cycle_peaks_where_asked_and_may_end_where_it_started() -> None:
    recipe = Recipe(epochs=24, schedule=Schedule("one_cycle", warmup_epochs=5, start_factor=0.1, final_factor=0.1))
    values = factors(recipe, 24)
    assert values[0] == pytest.approx(0.1)
    assert max(range(len(values)), key=values.__getitem__) == 5 * STEPS_AN_EPOCH
    assert max(values) == pytest.approx(1.0)
    assert values[-1] == pytest.approx(0.1, abs=0.01)


def test_warmup_is_linear_and_stretches_with_the_run() -> None:
    recipe = Recipe(epochs=60, schedule=Schedule("cosine", warmup_epochs=10))
    assert lr_factor(recipe, 5 / 60) == pytest.approx(0.5)
    assert lr_factor(recipe, 10 / 60) == pytest.approx(1.0)
    short = factors(recipe, 6)  # ten of sixty epochs are one of six
    assert short[STEPS_AN_EPOCH] == pytest.approx(1.0)


@given(
    epochs=st.floats(0.1, 40),
    warmup=st.floats(0.01, 30),
    start=st.sampled_from((0.0, 0.01, 0.1, 1.0)),
    name=st.sampled_from(("cosine", "one_cycle", "step", "constant")),
    steps=st.integers(1, 400),
)
def test_no_step_has_rate_0_and_only_a_first_one_leaves_the_curve(
    epochs: float, warmup: float, start: float, name: Any, steps: int
) -> None:
    schedule = Schedule(name, warmup_epochs=min(warmup, epochs), start_factor=start)
    recipe = Recipe(epochs=epochs, schedule=schedule)
    rates = [lr_factor(recipe, step / steps, 1 / steps) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    curve = [lr_factor(recipe, step / steps) for step in range(steps)]
    assert rates[1:] == curve[1:]
    if schedule.start_factor >= 0.5 / (steps * schedule.warmup_epochs / epochs):
        assert rates[0] == curve[0] == start


def test_the_first_of_ten_warm_up_steps_from_0_has_the_rate_of_its_middle() -> None:
    recipe = Recipe(epochs=60, schedule=Schedule("cosine", warmup_epochs=10))
    assert [lr_factor(recipe, step / 60, 1 / 60) for step in range(3)] == pytest.approx([0.05, 0.1, 0.2])


def test_constant_is_one() -> None:
    assert set(factors(Recipe(schedule=Schedule("constant")), 3)) == {1.0}


@pytest.mark.parametrize(("name", "lr"), [("sgd", 0.05), ("adamw", 0.01), ("adam", 0.01), ("rmsprop", 0.001)])
def test_every_optimizer_reduces_a_loss(name: str, lr: float) -> None:
    network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    settings = Optimizer(name, lr=lr, weight_decay=1e-4)  # type: ignore[arg-type]
    optimizer = build_optimizer(network, settings)
    x = torch.randn(64, 8)
    y = x[:, :1] - x[:, 1:2]
    losses = []
    for _ in range(60):
        loss = ((network(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_weight_decay_can_spare_norms_and_biases() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    decayed, spared = parameter_groups(network, Optimizer(decay_norm_and_bias=False, weight_decay=0.1))
    assert [p.ndim for p in decayed["params"]] == [4]
    assert [p.ndim for p in spared["params"]] == [1, 1, 1]
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def test_frozen_parameters_are_left_out() -> None:
    network = nn.Linear(2, 2)
    network.bias.requires_grad_(False)
    assert sum(len(g["params"]) for g in parameter_groups(network, Optimizer())) == 1


def test_set_lr() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    set_lr(optimizer, 0.4, 0.5)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.2)


def test_ema_averages_weights_and_batch_norm_statistics() -> None:
    network = nn.BatchNorm2d(1)
    ema = Ema(network, decay=0.5)
    average = ema.network
    assert isinstance(average, nn.BatchNorm2d)
    assert isinstance(network.running_mean, torch.Tensor)
    assert isinstance(average.running_mean, torch.Tensor)
    with torch.no_grad():
        network.weight.fill_(3.0)
        network.running_mean.fill_(2.0)
    ema.update()  # the first step's decay is (1 + 0) / (10 + 0) = 0.1
    assert average.weight.item() == pytest.approx(0.1 * 1 + 0.9 * 3)
    assert average.running_mean.item() == pytest.approx(0.9 * 2)
    for _ in range(200):
        ema.update()
    assert average.weight.item() == pytest.approx(3.0)


def test_the_moving_average_is_the_formula_bit_by_bit_without_a_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    network = ResNetConfig(blocks=(1, 1, 1), channels=(8, 8, 8), stem=8).build().train()
    ema = Ema(network, decay=0.9)
    expected = {key: value.clone() for key, value in network.state_dict().items()}
    optimizer = build_optimizer(network, Optimizer(lr=0.1))

    def step(number: int) -> None:
        network(torch.randn(4, 3, 32, 32)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        if number == 2:  # as continuing a run does
            network.load_state_dict({key: value + 1 for key, value in network.state_dict().items()})
        with monkeypatch.context() as patched:
            patched.setattr(nn.Module, "named_modules", None)
            ema.update()
        weight = 1 - min(0.9, (1 + number) / (10 + number))
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                expected[key] = expected[key].lerp(value, weight)

    for number in range(5):
        step(number)
    found: dict[str, Tensor] = ema.network.state_dict()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key
    assert not any(p.requires_grad for p in ema.network.parameters())
