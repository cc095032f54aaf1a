"""The training loop: it learns, resumes bit for bit, ends on divergence, and repeats itself with its seed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cifar import checkpoint
from cifar.candidate import Candidate
from cifar.data.images import ImageSet
from cifar.data.prepare import PreparedData, prepare
from cifar.data.splits import TrainingSplit, load_test, load_training_split
from cifar.data.toy import toy_npz
from cifar.errors import CheckpointError, ConfigError, Diverged
from cifar.evaluate import evaluate
from cifar.networks.resnet import ResNetConfig
from cifar.normalization import GIVEN_STATISTICS, normalization_for
from cifar.prediction import predict_probabilities
from cifar.recipe import Augmentation, Optimizer, Recipe, Schedule
from cifar.runtime.device import choose_device
from cifar.runtime.seeds import derive_seed
from cifar.train import Training

CPU = choose_device("cpu")
NETWORK = ResNetConfig(blocks=(1, 1, 1), channels=(8, 16, 16), stem=8, num_classes=4, image_size=16)
RECIPE = Recipe(
    batch_size=32,
    optimizer=Optimizer("sgd", lr=0.1, nesterov=True),
    schedule=Schedule("one_cycle", warmup_epochs=12),
    augmentation=Augmentation(crop_padding=2),
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    folder = tmp_path_factory.mktemp("toy")
    return prepare(toy_npz(folder / "toy.npz", train=640, test=200, size=16), cache=folder / "cache")


@pytest.fixture(scope="module")
def split(data: PreparedData) -> TrainingSplit:
    return load_training_split(data, val_size=128)


def training(
    split: TrainingSplit, recipe: Recipe = RECIPE, epochs: float = 3, seed: int = 0, **network: Any
) -> Training:
    return Training(Candidate(replace(NETWORK, **network), recipe), split, device=CPU, epochs=epochs, seed=seed)


def weights(run: Training) -> dict[str, Tensor]:
    return run.final_network().state_dict()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_it_learns(split: TrainingSplit, data: PreparedData) -> None:
    run = training(split, epochs=8)
    results = list(run.run())
    assert [r.epoch for r in results] == list(range(1, 9))
    assert results[-1].train_loss < 0.6 * results[0].train_loss
    assert results[-1].val_accuracy is not None
    assert results[-1].val_accuracy > 0.6
    test = load_test(data)
    probabilities = predict_probabilities(run.final_network(), test.images, run.normalization, device=CPU.torch_device)
    assert evaluate(probabilities, test.labels, split.class_names).accuracy > 0.6


FULL = replace(
    RECIPE,
    ema_decay=0.9,
    keep="best",
    augmentation=Augmentation(randaugment_ops=1, erasing=0.5, mixup=0.2, cutmix=0.2, crop_padding=2),
)


@pytest.mark.parametrize("recipe", [RECIPE, FULL, replace(RECIPE, optimizer=Optimizer("adamw", lr=1e-3))])
def test_pausing_after_every_epoch_gives_the_same_weights(split: TrainingSplit, recipe: Recipe, tmp_path: Path) -> None:
    network: dict[str, Any] = {"dropout": 0.3, "stochastic_depth": 0.3}
    through = training(split, recipe, **network)
    expected = list(through.run())
    found = []
    state = None
    for _ in range(3):
        paused = training(split, recipe, **network)
        if state is not None:
            paused.load_state_dict(checkpoint.load(tmp_path / "state.pt"))
        found.append(next(paused.run()))
        state = paused.state_dict()
        checkpoint.save(tmp_path / "state.pt", state)
        torch.rand(17)  # the global generator's state must not matter
    assert same(weights(paused), weights(through))
    assert [(r.train_loss, r.val_loss, r.lr) for r in found] == [(r.train_loss, r.val_loss, r.lr) for r in expected]


def test_equal_seeds_give_equal_weights_and_others_do_not(split: TrainingSplit) -> None:
    runs = [training(split, epochs=1, seed=seed) for seed in (1, 1, 2)]
    for run in runs:
        list(run.run())
    assert same(weights(runs[0]), weights(runs[1]))
    assert not same(weights(runs[0]), weights(runs[2]))


def test_training_leaves_the_global_generator_alone(split: TrainingSplit) -> None:
    before = torch.get_rng_state()
    list(training(split, epochs=1, dropout=0.5).run())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("threads", [2, 3])
def test_batches_do_not_depend_on_the_number_of_threads(
    split: TrainingSplit, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cifar.loader.AUGMENTED_AT_ONCE", 64)  # 8 chunks

    def batches() -> list[tuple[Tensor, Tensor]]:
        return list(training(split, FULL).loader.batches(torch.Generator().manual_seed(0)))

    expected = batches()
    torch.set_num_threads(threads)
    found = batches()
    assert len(found) == 16
    for (images, labels), (other_images, other_labels) in zip(found, expected, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)


def test_each_chunk_is_augmented_otherwise(split: TrainingSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cifar.loader.AUGMENTED_AT_ONCE", 32)
    one = split.train.images[:1].expand(len(split.train), -1, -1, -1)  # the same image, over and over
    alike = TrainingSplit(ImageSet(one, split.train.labels), split.val, split.class_names)
    first, second, *_ = training(alike).loader.batches(torch.Generator().manual_seed(0))
    assert not torch.equal(first[0], second[0])


class Refused(Exception):
    """What the backend below raises."""


def refuse(module: object, inputs: object) -> Any:
    raise Refused("no compiler here\nmore words")


def test_what_cannot_be_compiled_trains_uncompiled(split: TrainingSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = training(split, epochs=1, dropout=0.3)
    list(expected.run())
    run = training(split, epochs=1, dropout=0.3)
    before = torch.get_rng_state()
    compiling = torch.compile
    monkeypatch.setattr(torch, "compile", lambda losses, **_: compiling(losses, backend=refuse))
    result = run.compile()
    assert result.quicker is None
    assert result.told.startswith("not compiled, which costs only speed")
    assert "Refused" in result.told
    assert "\n" not in result.told
    assert torch.equal(torch.get_rng_state(), before)
    list(run.run())
    assert same(weights(run), weights(expected))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler's own
def test_compiled_training_gives_the_same_losses(split: TrainingSplit) -> None:
    expected, run = training(split, epochs=2), training(split, epochs=2)
    before = {key: value.clone() for key, value in weights(run).items()}
    assert run.compile().told == "compiled"
    assert same(weights(run), before)
    assert all(p.grad is None for p in run.network.parameters())
    for result, plain in zip(run.run(), expected.run(), strict=True):
        assert result.train_loss == pytest.approx(plain.train_loss, rel=0.02)
    assert run.state_dict()["network"].keys() == expected.state_dict()["network"].keys()
    assert weights(run).keys() == weights(expected).keys()


def test_divergence_is_told(split: TrainingSplit) -> None:
    recipe = replace(RECIPE, optimizer=Optimizer("sgd", lr=1e30), schedule=Schedule("constant"))
    with pytest.raises(Diverged, match="NaN or infinite near step"):
        list(training(split, recipe).run())


def test_a_fraction_of_an_epoch_ends_inside_it(split: TrainingSplit) -> None:
    run = training(split, epochs=1.5)
    assert [r.images for r in run.run()] == [512, 256]
    assert run.total_epochs == 2


def test_the_schedule_spans_the_run(split: TrainingSplit) -> None:
    lrs = [r.lr for r in training(split, epochs=5).run()]
    assert max(range(5), key=lrs.__getitem__) == 0  # the peak, 12 of 60 epochs, is at the end of the first of five
    assert lrs[-1] < 0.05 * max(lrs)


def test_with_early_stopping_the_schedule_keeps_its_own_epochs(split: TrainingSplit) -> None:
    step = Schedule("step", step_epochs=2, gamma=0.5)
    fixed = replace(RECIPE, epochs=8, schedule=step)
    lrs = {
        name: [r.lr for r in training(split, recipe, epochs=4).run()]
        for name, recipe in (("fixed", fixed), ("open", replace(fixed, early_stopping=8)))
    }
    assert lrs["fixed"] == pytest.approx([0.1, 0.05, 0.025, 0.0125])  # a drop every epoch: 4 of 8
    assert lrs["open"] == pytest.approx([0.1, 0.1, 0.05, 0.05])


def test_a_data_set_smaller_than_a_batch_trains(split: TrainingSplit) -> None:
    tiny = TrainingSplit(ImageSet(split.train.images[:20], split.train.labels[:20]), split.val, split.class_names)
    assert [r.images for r in training(tiny, epochs=2).run()] == [20, 20]


def test_without_validation_images_there_is_no_validation(split: TrainingSplit) -> None:
    none = TrainingSplit(split.train, ImageSet(split.val.images[:0], split.val.labels[:0]), split.class_names)
    (result,) = training(none, replace(RECIPE, val_size=0), epochs=1).run()
    assert result.val_accuracy is None
    assert result.val_loss is None


def test_early_stopping_and_the_best_weights(split: TrainingSplit) -> None:
    # after a first useful epoch the rate is so high that validation only gets worse
    recipe = replace(
        RECIPE,
        early_stopping=2,
        keep="best",
        monitor="val_loss",
        optimizer=Optimizer("adam", lr=0.02),
        schedule=Schedule("constant"),
    )
    run = training(split, recipe, epochs=60)
    results = list(run.run())
    losses = [r.val_loss for r in results if r.val_loss is not None]
    best = losses.index(min(losses))
    assert len(results) == best + 1 + 2 < 60
    network = run.final_network()
    probabilities = predict_probabilities(
        network, split.val.images, run.normalization, device=CPU.torch_device, autocast=CPU.autocast
    )
    loss = torch.nn.functional.nll_loss(probabilities.log(), split.val.labels).item()
    assert loss == pytest.approx(min(losses), rel=1e-3)


class Blind(Training):
    """Its validation gives no number in the first epochs."""

    nan_epochs = 1

    def _validate(self) -> tuple[float | None, float | None]:
        loss, accuracy = super()._validate()
        return (math.nan if self.epoch <= self.nan_epochs else loss), accuracy


@pytest.mark.parametrize("nan_epochs", [1, 2])
def test_any_epoch_is_better_than_one_whose_loss_is_no_number(split: TrainingSplit, nan_epochs: int) -> None:
    recipe = replace(RECIPE, keep="best", monitor="val_loss", schedule=Schedule("constant"))
    run = Blind(Candidate(NETWORK, recipe), split, device=CPU, epochs=4, seed=0)
    run.nan_epochs = nan_epochs
    losses = [result.val_loss for result in run.run()]
    assert run.best is not None
    assert run.best[0] == -min(loss for loss in losses[nan_epochs:] if loss is not None)
    assert run.best[1] > nan_epochs


def test_losses_that_are_no_numbers_stop_a_run_early(split: TrainingSplit) -> None:
    recipe = replace(RECIPE, early_stopping=2, monitor="val_loss", schedule=Schedule("constant"))
    run = Blind(Candidate(NETWORK, recipe), split, device=CPU, epochs=9, seed=0)
    run.nan_epochs = 9
    assert len(list(run.run())) == 3


def test_the_first_step_of_a_warm_up_from_0_trains(split: TrainingSplit) -> None:
    batch = TrainingSplit(ImageSet(split.train.images[:32], split.train.labels[:32]), split.val, split.class_names)
    run = training(batch, epochs=20)  # a step each: four of warm-up
    before = run.network.get_parameter("fc.weight").detach().clone()
    assert next(run.run()).lr == pytest.approx(0.1 / 8)
    assert not torch.equal(run.network.get_parameter("fc.weight"), before)


def test_images_are_neither_copied_nor_counted_again(split: TrainingSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = TrainingSplit(ImageSet(split.train.images, split.train.labels), split.val, split.class_names)
    first = training(fresh)
    monkeypatch.setattr("cifar.data.images.channel_moments", None)
    second = training(fresh.to(CPU.torch_device))
    assert second.normalization == first.normalization
    for run in (first, second):
        assert run.images.data_ptr() == split.train.images.data_ptr()
        assert run.val_images.data_ptr() == split.val.images.data_ptr()


def test_a_split_is_moved_to_a_device_once(split: TrainingSplit) -> None:
    elsewhere = torch.device("meta")
    moved = split.to(elsewhere)
    assert {t.device for part in (moved.train, moved.val) for t in (part.images, part.labels)} == {elsewhere}
    assert moved.to(elsewhere).train is moved.train
    assert moved.to(elsewhere).val is moved.val
    assert split.to(CPU.torch_device).train is split.train


def test_the_moving_average_is_what_counts(split: TrainingSplit) -> None:
    run = training(split, replace(RECIPE, ema_decay=0.99), epochs=1)
    list(run.run())
    assert run.ema is not None
    assert same(weights(run), run.ema.network.state_dict())
    assert not same(weights(run), run.network.state_dict())


@pytest.mark.parametrize("statistics", [*GIVEN_STATISTICS, "computed"])
def test_statistics(split: TrainingSplit, statistics: Any) -> None:
    found = normalization_for(replace(RECIPE, statistics=statistics), split.train)
    if statistics != "computed":
        assert found == GIVEN_STATISTICS[statistics]
    else:
        pixels = split.train.images.double() / 255
        assert found.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
        assert found.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist())


def test_a_model_survives_its_folder(split: TrainingSplit, tmp_path: Path) -> None:
    run = training(split, epochs=1)
    list(run.run())
    candidate = Candidate(NETWORK, RECIPE)
    model = checkpoint.TrainedModel(run.final_network(), candidate, run.normalization, split.class_names)
    checkpoint.save_model(tmp_path / "run", model)
    loaded = checkpoint.load_model(tmp_path / "run")
    assert same(loaded.network.state_dict(), model.network.state_dict())
    assert (loaded.candidate, loaded.normalization, loaded.class_names) == (
        candidate,
        run.normalization,
        split.class_names,
    )
    assert torch.load(tmp_path / "run" / "weights.pt", weights_only=True).keys() == weights(run).keys()


@pytest.mark.parametrize("name", ["weights.pt", "candidate.json", "model.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "garbage"])
def test_damaged_models_are_refused_in_one_line(split: TrainingSplit, tmp_path: Path, name: str, damage: str) -> None:
    run = training(split, epochs=1)
    model = checkpoint.TrainedModel(
        run.final_network(), Candidate(NETWORK, RECIPE), run.normalization, split.class_names
    )
    checkpoint.save_model(tmp_path, model)
    path = tmp_path / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:40] if damage == "cut" else b"\x80\x04garbage" * 9)
    with pytest.raises((CheckpointError, ConfigError)) as caught:
        checkpoint.load_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(split: TrainingSplit, tmp_path: Path) -> None:
    run = training(split, epochs=1)
    other = Candidate(replace(NETWORK, stem=9), RECIPE)
    checkpoint.save_model(
        tmp_path, checkpoint.TrainedModel(run.final_network(), other, run.normalization, split.class_names)
    )
    with pytest.raises(CheckpointError, match="must hold weights of the network"):
        checkpoint.load_model(tmp_path)


def test_derived_seeds() -> None:
    assert derive_seed(1, "epoch", 2) == derive_seed(1, "epoch", 2)
    seeds = {derive_seed(s, "epoch", e) for s in range(20) for e in range(20)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(1, 23) != derive_seed(12, 3)
    assert derive_seed("1") != derive_seed(1)


@pytest.mark.parametrize(
    ("name", "words"), [("gpu", "a device is auto"), ("cuda:x", "a device is auto"), ("cuda:99", "must exist")]
)
def test_wrong_devices_are_refused(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        choose_device(name)


@pytest.mark.gpu
def test_cuda_learns(split: TrainingSplit) -> None:
    cuda = choose_device("cuda")
    run = Training(Candidate(NETWORK, RECIPE), split, device=cuda, epochs=8, seed=0)
    assert list(run.run())[-1].val_accuracy > 0.6  # type: ignore[operator]
