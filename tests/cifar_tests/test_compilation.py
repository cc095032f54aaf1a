"""Quicker passes: when they are worth it, what is tried first, and that they train as the plain pass does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cifar import compilation
from cifar.candidate import Candidate
from cifar.compilation import COMPILE_FROM, RECORD_FROM, effort_worth
from cifar.data.images import ImageSet
from cifar.data.splits import TrainingSplit
from cifar.networks.resnet import ResNetConfig
from cifar.passes import RecordedPass
from cifar.recipe import Augmentation, Optimizer, Recipe
from cifar.runtime.device import Device, choose_device
from cifar.train import Training

CPU, CUDA = Device(torch.device("cpu"), None), Device(torch.device("cuda"), torch.bfloat16)
NETWORK = ResNetConfig(blocks=(1, 1, 1), channels=(8, 16, 16), stem=8, num_classes=4, image_size=16)
RECIPES = {
    "plain": Recipe(batch_size=32, optimizer=Optimizer("sgd", lr=0.1), augmentation=Augmentation(crop_padding=2)),
    "mixed": Recipe(
        batch_size=32,
        ema_decay=0.9,
        label_smoothing=0.1,
        optimizer=Optimizer("muon", lr=0.1, momentum=0.6),
        augmentation=Augmentation(ricap=0.3, mixing_probability=0.5),
    ),
    "growing": Recipe(batch_size=32, lookahead_steps=5, resolution_start=0.5),
}

pytestmark = pytest.mark.usefixtures("one_thread")


def split_of(count: int = 160) -> TrainingSplit:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % 4
    return TrainingSplit(ImageSet(images, labels), ImageSet(images[:40], labels[:40]), tuple("abcd"))


def training(recipe: Recipe, device: Device = CPU, **network: Any) -> Training:
    return Training(Candidate(replace(NETWORK, **network), recipe), split_of(), device=device, epochs=4, seed=0)


def again(work: Callable[[], None]) -> Callable[[], None]:
    """Records nothing: the work is done anew each time, its results in tensors of their own."""
    for _ in range(3):
        work()
    return work


def recorded(run: Training, record: Callable[[Callable[[], None]], Callable[[], None]] = again) -> RecordedPass:
    make = partial(RecordedPass, run.losses, run.scaler, run.network, run._empty_batch(), record)
    found = compilation._tried(make, run.network, run._empty_batch(), run.device)
    assert isinstance(found, RecordedPass)
    return found


@pytest.fixture
def undetermined() -> Iterator[None]:
    torch.use_deterministic_algorithms(False)  # the mode is the process's, and other tests ask for it
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("undetermined")
@given(st.floats(0, 1e6))
def test_more_time_to_come_is_worth_more_effort(seconds: float) -> None:
    expected = "compile" if seconds >= 300 else "record" if seconds >= 20 else None
    assert effort_worth(seconds, CUDA) == expected
    assert effort_worth(seconds, CPU) is None


@pytest.mark.usefixtures("undetermined")
def test_runs_that_must_repeat_stay_as_they_are() -> None:
    torch.use_deterministic_algorithms(True)
    assert effort_worth(1e6, CUDA) is None


@pytest.mark.parametrize("name", RECIPES)
def test_a_recorded_pass_trains_as_the_plain_one_does(name: str) -> None:
    plain, run = training(RECIPES[name]), training(RECIPES[name])
    before = {key: value.clone() for key, value in run.network.state_dict().items()}
    state = torch.get_rng_state()
    run.quicker_pass = recorded(run)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in run.network.state_dict().items())
    assert all(p.grad is None for p in run.network.parameters())
    for result, expected in zip(run.run(), plain.run(), strict=True):
        assert (result.train_loss, result.val_loss) == (expected.train_loss, expected.val_loss)
    weights, others = (one.final_network().state_dict() for one in (run, plain))
    assert all(torch.equal(weights[key], others[key]) for key in others)


def test_a_recorded_pass_works_on_the_memory_it_began_with() -> None:
    run = training(RECIPES["plain"])
    found = recorded(run)
    addresses = [part.data_ptr() for part in found.batch]
    images, labels = next(run.loader.batches(torch.Generator().manual_seed(0)))
    found(images, labels, labels)
    assert [part.data_ptr() for part in found.batch] == addresses
    assert found.batch[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found.batch[0], images)


def test_small_images_take_the_plain_pass() -> None:
    run = training(RECIPES["growing"])
    sides = []

    def quicker(images: torch.Tensor, targets: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        sides.append(images.shape[-1])
        return run.plain_pass(images, targets, labels)

    run.quicker_pass = quicker
    list(run.run())
    assert sides == [16] * (run.total_steps // 2)


class Fails(Exception):
    """What making a pass raises."""


@pytest.mark.parametrize(
    ("working", "tries", "told"),
    [
        ("reduce-overhead", ["reduce-overhead"], "compiled for CUDA graphs"),
        ("default", ["reduce-overhead", "default"], "compiled; not compiled: Fails: no reduce-overhead"),
        (
            "record",
            ["reduce-overhead", "default", "record"],
            "recorded as a CUDA graph; not compiled: Fails: no reduce-overhead",
        ),
        (
            "none",
            ["reduce-overhead", "default", "record"],
            "not compiled, which costs only speed: Fails: no reduce-overhead",
        ),
    ],
)
def test_the_best_that_can_be_made_is_taken(
    working: str, tries: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, made = training(RECIPES["plain"]), []

    def compiled(losses: Any, scaler: Any, mode: str) -> Any:
        return make(mode)

    def make(name: str, *_: object) -> Any:
        made.append(name)
        if name != working:
            raise Fails(f"no {name}\n\nadvice")
        return run.plain_pass

    monkeypatch.setattr(compilation, "_compiled", compiled)
    monkeypatch.setattr(compilation, "RecordedPass", partial(make, "record"))
    monkeypatch.setattr(compilation, "_tried", lambda make, *_: make())
    result = compilation.make_quicker("compile", run.losses, run.scaler, run.network, run._empty_batch(), CUDA)
    assert made == tries
    assert result.told == told
    assert (result.quicker is None) == (working == "none")


def test_recording_needs_cuda() -> None:
    result = training(RECIPES["plain"]).compile("record")
    assert result.quicker is None
    assert result.told == "not compiled, which costs only speed: recording needs CUDA"


def test_a_pass_is_tried_three_times_and_compiled_with_loss_and_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA graphs fail in the third pass only; a compiler that sees one graph has seen all of the pass."""
    run, calls = training(RECIPES["mixed"], stochastic_depth=0.3, dropout=0.2), []
    compiling = torch.compile
    graphs = []

    def counting(graph: torch.fx.GraphModule, inputs: object) -> Callable[..., Any]:
        graphs.append(graph)

        def called(*args: object) -> Any:
            calls.append(graph)
            return graph.forward(*args)

        return called

    monkeypatch.setattr(torch, "compile", lambda losses, **_: compiling(losses, backend=counting))
    assert run.compile().told == "compiled"
    assert len(graphs) == 1
    assert len(calls) == 3
    assert any("cross_entropy" in str(node.target) for node in graphs[0].graph.nodes)
    assert any("argmax" in str(node.target) for node in graphs[0].graph.nodes)
    results = list(run.run())
    assert all(math.isfinite(result.train_loss) for result in results)
    assert len(graphs) == 1


def test_what_pays_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    run, efforts = training(RECIPES["plain"]), []
    monkeypatch.setattr(Training, "compile", lambda _, effort: efforts.append(effort))
    monkeypatch.setitem(COMPILE_FROM, "cpu", 50.0)
    monkeypatch.setitem(RECORD_FROM, "cpu", 5.0)
    torch.use_deterministic_algorithms(False)
    for seconds in (4.9, 5.0, 49.9, 50.0):
        run.compile_if_worth(seconds)
    assert efforts == ["record", "record", "compile"]


@pytest.mark.parametrize("deterministic", [False, True])
def test_cudnn_chooses_kernels_where_runs_need_not_repeat(deterministic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", deterministic)
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: deterministic)
    CUDA.prepare_to_train()
    assert torch.backends.cudnn.benchmark is not deterministic


@pytest.mark.gpu
@pytest.mark.filterwarnings("default")  # the compiler's own
@pytest.mark.parametrize("effort", ["record", "compile"])
@pytest.mark.parametrize("name", RECIPES)
def test_quicker_passes_train_on_cuda_as_plain_ones_do(effort: Any, name: str) -> None:
    cuda = choose_device("cuda")
    plain, run = training(RECIPES[name], cuda), training(RECIPES[name], cuda)
    before = {key: value.clone() for key, value in run.network.state_dict().items()}
    result = run.compile(effort)
    assert result.quicker is not None, result.told
    assert result.told.startswith("recorded" if effort == "record" else "compiled for CUDA graphs")
    assert all(torch.equal(value, before[key]) for key, value in run.network.state_dict().items())
    for found, expected in zip(run.run(), plain.run(), strict=True):
        assert found.train_loss == pytest.approx(expected.train_loss, rel=0.05)


@pytest.mark.gpu
@pytest.mark.parametrize("effort", ["record", "compile"])
@pytest.mark.filterwarnings("default")
def test_dropout_differs_from_replay_to_replay(effort: Any) -> None:
    """A recording that repeated its random numbers would drop the same units in every step."""
    run = training(replace(RECIPES["plain"], optimizer=Optimizer("sgd", lr=1e-9)), choose_device("cuda"), dropout=0.5)
    run.compile(effort)
    run.network.train()
    images, labels = next(run.loader.batches(torch.Generator().manual_seed(0)))
    generator = torch.Generator().manual_seed(0)
    losses = {round(run.step(images, labels, generator)[0].item(), 4) for _ in range(8)}
    assert len(losses) > 4


@pytest.mark.gpu
def test_a_training_step_never_waits_for_the_device() -> None:
    run = training(RECIPES["mixed"], choose_device("cuda"))
    generator = torch.Generator().manual_seed(0)
    run.network.train()
    batches = run.loader.batches(generator)
    images, labels = next(batches)
    run.step(images, labels, generator)  # buffers are made, kernels chosen
    torch.cuda.set_sync_debug_mode("error")  # waiting raises
    try:
        totals = [run.step(images, labels, generator).clone() for images, labels in batches]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(totals) == run.steps_an_epoch - 1
    assert all(torch.isfinite(total).all() for total in totals)
