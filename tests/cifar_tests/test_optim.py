"""Schedules agree with torch's own; optimizers reduce a loss; the moving average averages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cifar.errors import ConfigError
from cifar.networks.resnet import ResNetConfig
from cifar.optim import Ema, build_optimizer, lr_factor, set_lr
from cifar.parameter_groups import parameter_groups
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
@example(epochs=0.1, warmup=1.0, start=0.1, name="cosine", steps=5)
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
        assert curve[0] == start
        assert rates[0] == pytest.approx(start, rel=1e-12)  # the middle of the first step is rounded another way


def test_the_first_of_ten_warm_up_steps_from_0_has_the_rate_of_its_middle() -> None:
    recipe = Recipe(epochs=60, schedule=Schedule("cosine", warmup_epochs=10))
    assert [lr_factor(recipe, step / 60, 1 / 60) for step in range(3)] == pytest.approx([0.05, 0.1, 0.2])


def test_constant_is_one() -> None:
    assert set(factors(Recipe(schedule=Schedule("constant")), 3)) == {1.0}


RUN = st.tuples(st.floats(0, 0.5), st.floats(0.01, 0.5), st.integers(1, 200))  # warm-up, cool-down (shares), epochs


@given(RUN, st.sampled_from(["linear", "sqrt"]), st.floats(0, 1, exclude_max=True))
@settings(max_examples=150, deadline=None)
def test_warm_up_stable_decay(run: tuple[float, float, int], shape: Any, progress: float) -> None:
    warm, cool, epochs = run
    schedule = Schedule(
        "constant", warmup_epochs=warm * epochs, cooldown_epochs=cool * epochs, cooldown_shape=shape, start_factor=0.1
    )
    factor = lr_factor(Recipe(epochs=epochs, schedule=schedule), progress)
    left = 1 - progress
    if progress < warm * (1 - 1e-9):
        assert factor == pytest.approx(0.1 + 0.9 * progress / warm, abs=1e-6)
    elif left >= cool * (1 + 1e-9) and progress > warm:
        assert factor == 1
    elif left < cool:
        done = 1 - left / cool
        assert factor == pytest.approx(1 - (done**0.5 if shape == "sqrt" else done), abs=1e-6)


@pytest.mark.parametrize("name", ["constant", "cosine", "one_cycle", "step"])
def test_a_cool_down_ends_any_schedule_at_zero_and_leaves_what_comes_before(name: Any) -> None:
    plain = Recipe(epochs=20, schedule=Schedule(name, warmup_epochs=2, final_factor=0.3, step_epochs=8))
    cooled = replace(plain, schedule=replace(plain.schedule, cooldown_epochs=5))
    without, with_it = factors(plain, 20), factors(cooled, 20)
    last = 5 * STEPS_AN_EPOCH
    assert with_it[:-last] == without[:-last]
    shares = [cool / full for cool, full in zip(with_it[-last:], without[-last:], strict=True)]
    assert shares == pytest.approx([1 - step / last for step in range(last)])


@pytest.mark.parametrize(
    ("name", "lr"), [("sgd", 0.05), ("adamw", 0.01), ("adam", 0.01), ("rmsprop", 0.001), ("muon", 0.05)]
)
def test_every_optimizer_reduces_a_loss(name: str, lr: float) -> None:
    network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = build_optimizer(network, Optimizer(name, lr=lr, weight_decay=1e-4))  # type: ignore[arg-type]
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


def by_parameter(network: nn.Module, chosen: Optimizer) -> dict[str, tuple[float, float]]:
    """Learning-rate factor and weight decay of each parameter."""
    names = {p: name for name, p in network.named_parameters()}
    groups = parameter_groups(network, chosen)
    assert all(group["lr"] == chosen.peak_lr * group["lr_factor"] for group in groups)
    return {names[p]: (group["lr_factor"], group["weight_decay"]) for group in groups for p in group["params"]}


def test_norm_biases_and_the_head_can_have_rates_of_their_own_and_decay_as_before() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    network.add_module("fc", nn.Linear(4, 2))
    chosen = Optimizer(bias_lr_factor=64, head_lr_factor=4, weight_decay=0.64)
    assert by_parameter(network, chosen) == {
        "0.weight": (1, 0.64),
        "0.bias": (1, 0.64),  # a convolution's
        "1.weight": (1, 0.64),
        "1.bias": (64, 0.01),
        "fc.weight": (4, 0.16),
        "fc.bias": (4, 0.16),
    }
    spared = by_parameter(network, replace(chosen, decay_norm_and_bias=False))
    assert spared["1.bias"] == (64, 0.0)
    assert spared["0.weight"] == (1, 0.64)
    slow = by_parameter(network, replace(chosen, backbone_lr_factor=0.5))
    assert slow["1.bias"] == (32, 0.01)
    assert slow["fc.weight"] == (4, 0.16)


@pytest.mark.parametrize("chosen", [Optimizer(bias_lr_factor=0.1), Optimizer(head_lr_factor=0.1)])
def test_the_first_group_has_the_recipes_own_rate(chosen: Optimizer) -> None:
    network = nn.Sequential(nn.BatchNorm2d(4))
    network.add_module("fc", nn.Linear(4, 2))
    first, *_ = parameter_groups(network, chosen)
    assert first["lr_factor"] == 1


def test_a_rate_of_the_heads_own_needs_a_head() -> None:
    with pytest.raises(ConfigError, match=r"head_lr_factor needs a network whose last layer is named fc; got 2"):
        parameter_groups(nn.Sequential(nn.Linear(2, 2)), Optimizer(head_lr_factor=2.0))


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
