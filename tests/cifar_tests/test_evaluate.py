"""Predictions, intervals and metrics."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cifar.errors import ConfigError
from cifar.evaluate import Evaluation, evaluate, write_evaluation
from cifar.normalization import Normalization, normalize
from cifar.prediction import predict_probabilities
from cifar.stats.intervals import difference_interval, wilson_interval

CPU = torch.device("cpu")
STATISTICS = Normalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def some_images(count: int = 7) -> Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)


def small_network() -> nn.Module:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(8192, 10),
    )
    network(torch.randn(16, 3, 32, 32))  # running statistics unlike a batch's own
    return network


class ChannelMeans(nn.Module):
    """Logits = mean of each channel: blind to mirroring."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.mean(dim=(2, 3))


class FirstColumn(nn.Module):
    """Logits = mean of the first column of each channel: mirroring and moving show."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs[..., 0].mean(dim=2)


class Recorder(nn.Module):
    """Keeps every batch it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.batches.append(inputs)
        return inputs.mean(dim=(2, 3))


# ---- normalisation


def test_normalize_is_the_formula() -> None:
    images = some_images()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (STATISTICS.mean, STATISTICS.std))
    result = normalize(images, STATISTICS)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, (images / 255 - mean) / std, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_normalize_keeps_the_memory_format(layout: torch.memory_format) -> None:
    assert normalize(some_images().to(memory_format=layout), STATISTICS).is_contiguous(memory_format=layout)


@pytest.mark.parametrize("std", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, math.nan, 1.0), (math.inf, 1.0, 1.0)])
def test_a_standard_deviation_must_be_positive(std: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match="positive standard deviations"):
        Normalization((0.0, 0.0, 0.0), std)


# ---- prediction


def test_predictions_are_those_of_a_plain_loop() -> None:
    network, images = small_network(), some_images()
    probabilities = predict_probabilities(network, images, STATISTICS, device=CPU)
    network.eval()
    with torch.no_grad():
        expected = torch.stack([network(normalize(image[None], STATISTICS))[0].softmax(0) for image in images])
    torch.testing.assert_close(probabilities, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tta", [False, True])
def test_batch_size_changes_nothing(tta: bool) -> None:
    network, images = small_network(), some_images()
    whole = predict_probabilities(network, images, STATISTICS, device=CPU, tta=tta)
    for batch_size in (1, 3, 7):
        parts = predict_probabilities(network, images, STATISTICS, device=CPU, tta=tta, batch_size=batch_size)
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tta", [False, True])
def test_no_images_give_no_rows(tta: bool) -> None:
    result = predict_probabilities(small_network(), some_images(0), STATISTICS, device=CPU, tta=tta)
    assert result.shape == (0, 10)


def test_every_module_gets_its_own_mode_back() -> None:
    network = small_network().train()
    network[1].eval()  # type: ignore[index]  # a frozen layer
    before = [module.training for module in network.modules()]
    statistics = network[1].running_mean.clone()  # type: ignore[index]
    predict_probabilities(network, some_images(), STATISTICS, device=CPU)
    assert [module.training for module in network.modules()] == before
    assert torch.equal(network[1].running_mean, statistics)  # type: ignore[index]


def test_modes_come_back_after_an_error() -> None:
    network = nn.Sequential(nn.Linear(3, 3)).train()
    with pytest.raises(RuntimeError):
        predict_probabilities(network, some_images(), STATISTICS, device=CPU)
    assert network.training
    assert network[0].training


def test_the_network_sees_channels_last_batches_and_the_result_is_an_ordinary_tensor() -> None:
    network = Recorder()
    result = predict_probabilities(network, some_images(5), STATISTICS, device=CPU, batch_size=12, tta=True)
    assert [len(batch) for batch in network.batches] == [12, 12, 6]  # all six views of two images in a pass
    assert all(batch.is_contiguous(memory_format=torch.channels_last) for batch in network.batches)
    assert not result.is_inference()
    assert not result.requires_grad
    assert result.dtype == torch.float32
    assert result.device == CPU


def test_autocast_changes_only_the_precision() -> None:
    network, images = small_network(), some_images()
    exact = predict_probabilities(network, images, STATISTICS, device=CPU)
    rough = predict_probabilities(network, images, STATISTICS, device=CPU, autocast=torch.bfloat16)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=0.1, atol=0.02)


class Unlike(nn.Module):
    """Logits that differ by less than bfloat16 can tell; the last layer is linear or a convolution."""

    def __init__(self, *, linear: bool) -> None:
        super().__init__()
        self.linear = linear
        self.body = nn.Conv2d(3, 4, 3)
        self.attention = nn.Linear(4, 4)
        self.head = nn.Linear(4, 10) if linear else nn.Conv2d(4, 10, 1)
        with torch.no_grad():
            self.head.weight.copy_(1 + torch.arange(10).view(10, *[1] * (self.head.weight.ndim - 1)) / 10_000)
            self.body.weight.abs_()
            nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.body(inputs.abs()).mean((2, 3), keepdim=True)
        features = features * self.attention(features.flatten(1)).sigmoid()[..., None, None]
        logits: Tensor = self.head(features.flatten(1) if self.linear else features)
        return logits.flatten(1)


def ties(values: Tensor) -> int:
    """Rows whose greatest value is there twice."""
    first, second = values.topk(2).values.unbind(1)
    return int((first == second).sum())


@pytest.mark.parametrize("tta", [False, True])
@pytest.mark.parametrize("linear", [False, True])
def test_no_two_classes_are_equal_for_want_of_digits(linear: bool, tta: bool) -> None:
    network, images = Unlike(linear=linear).eval(), some_images(40)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert ties(network(normalize(images, STATISTICS))) > 30
    probabilities = predict_probabilities(
        network, images, STATISTICS, device=CPU, autocast=torch.bfloat16, batch_size=16, tta=tta
    )
    assert ties(probabilities) == 0
    assert (probabilities.argmax(1) == 9).all()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):  # the head is its own again
        assert ties(network(normalize(images, STATISTICS))) > 30


def test_tta_of_a_network_blind_to_mirror_and_place_changes_nothing() -> None:
    flat = torch.randint(0, 256, (6, 3, 1, 1), dtype=torch.uint8).expand(6, 3, 32, 32).contiguous()
    plain, augmented = (
        predict_probabilities(ChannelMeans(), flat, STATISTICS, device=CPU, tta=tta) for tta in (False, True)
    )
    torch.testing.assert_close(augmented, plain)


def test_tta_weighs_the_six_views_as_documented() -> None:
    """Columns only: the image is constant over rows, so a diagonal move is a sideways move."""
    column = torch.randint(0, 256, (1, 3, 1, 32), dtype=torch.uint8).expand(1, 3, 32, 32).contiguous()
    x = normalize(column, STATISTICS)[..., 0, :]  # (1, 3, 32)
    first_columns = (
        (x[..., 0], 1 / 4),  # the image
        (x[..., 31], 1 / 4),  # its mirror image
        (x[..., 1], 1 / 8),  # padded by reflection: the new first column is column 1
        (x[..., 30], 1 / 8),  # mirror image of that: its last column, 30
        (x[..., 1], 1 / 8),  # moved the other way: the first column is column 1
        (x[..., 30], 1 / 8),  # mirror image of that: the reflected column, 30
    )
    expected = sum(weight * logits for logits, weight in first_columns)
    assert isinstance(expected, Tensor)
    result = predict_probabilities(FirstColumn(), column, STATISTICS, device=CPU, tta=True)
    torch.testing.assert_close(result, expected.softmax(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8, 3, dtype=torch.uint8)])
def test_images_must_be_raw_and_channels_first(images: Tensor) -> None:
    with pytest.raises(ValueError, match="uint8"):
        predict_probabilities(ChannelMeans(), images, STATISTICS, device=CPU)


def test_a_batch_has_images() -> None:
    with pytest.raises(ValueError, match="batch_size"):
        predict_probabilities(ChannelMeans(), some_images(), STATISTICS, device=CPU, batch_size=0)


# ---- intervals


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_of_newcombe(correct: int, total: int, low: float, high: float) -> None:
    """Table I, method 3, of Newcombe, Statistics in Medicine 17 (1998) 857-872."""
    assert wilson_interval(correct, total) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 20_000), st.integers(0, 20_000), st.floats(0.01, 0.999))
def test_wilson_interval_holds_the_proportion_and_stays_in_range(a: int, b: int, confidence: float) -> None:
    correct, total = min(a, b), max(a, b)
    low, high = wilson_interval(correct, total, confidence)
    assert 0 <= low <= (correct / total if total else 0.5) <= high <= 1
    mirrored = wilson_interval(total - correct, total, confidence)
    assert (1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-9)


def test_wilson_interval_of_nothing_says_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("arguments", [(-1, 3, 0.95), (4, 3, 0.95), (1, 3, 0.0), (1, 3, 1.0), (1, 3, math.nan)])
def test_wilson_interval_refuses_nonsense(arguments: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="interval needs"):
        wilson_interval(*arguments)


@pytest.mark.parametrize(
    ("first", "second", "interval"),
    [
        ((48, 80), (56, 70), (0.0524, 0.3339)),
        ((3, 10), (9, 10), (0.1705, 0.8090)),
        ((0, 29), (5, 56), (-0.0381, 0.1926)),
        ((0, 20), (0, 10), (-0.1611, 0.2775)),
        ((0, 10), (10, 10), (0.6075, 1.0)),
    ],
)
def test_difference_interval_of_newcombe(
    first: tuple[int, int], second: tuple[int, int], interval: tuple[float, float]
) -> None:
    """Table II, method 10, of Newcombe, Statistics in Medicine 17 (1998) 873-890."""
    (a, m), (b, n) = first, second
    assert difference_interval(a, b, m, n) == pytest.approx(interval, abs=5e-5)


@given(st.integers(1, 5000), st.integers(1, 5000), st.floats(0, 1), st.floats(0, 1))
def test_difference_interval_holds_the_difference(m: int, n: int, p: float, q: float) -> None:
    a, b = round(p * m), round(q * n)
    low, high = difference_interval(a, b, m, n)
    assert -1 <= low <= b / n - a / m <= high <= 1
    assert difference_interval(b, a, n, m) == pytest.approx((-high, -low), abs=1e-12)


# ---- metrics

HAND_PROBABILITIES = torch.tensor(
    [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.5, 0.25, 0.25]]
)
HAND_LABELS = torch.tensor([0, 0, 0, 1, 2])
HAND_NAMES = ("cat", "dog", "owl")


def hand_evaluation() -> Evaluation:
    return evaluate(HAND_PROBABILITIES, HAND_LABELS, HAND_NAMES)


def test_a_case_by_hand() -> None:
    result = hand_evaluation()
    assert result.confusion == ((2, 1, 0), (0, 1, 0), (1, 0, 0))
    assert (result.count, result.accuracy) == (5, 0.6)
    assert (result.low, result.high) == wilson_interval(3, 5)
    cat, dog, owl = result.classes
    assert (cat.name, cat.support, cat.correct) == ("cat", 3, 2)
    assert (cat.accuracy, cat.precision, cat.recall, cat.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3, 2 / 3))
    assert (dog.accuracy, dog.precision, dog.recall, dog.f1) == pytest.approx((1, 1 / 2, 1, 2 / 3))
    assert (owl.accuracy, owl.precision, owl.recall, owl.f1) == (0, 0, 0, 0)  # never predicted: precision 0
    assert (cat.low, cat.high) == wilson_interval(2, 3)
    assert result.macro_precision == pytest.approx((2 / 3 + 1 / 2) / 3)
    assert result.macro_recall == pytest.approx((2 / 3 + 1) / 3)
    assert result.macro_f1 == pytest.approx((2 / 3 + 2 / 3) / 3)
    assert result.loss == pytest.approx(-math.log(0.7 * 0.1 * 0.6 * 0.5 * 0.25) / 5, rel=1e-6)


def test_a_class_without_images_is_unknown() -> None:
    owl = evaluate(HAND_PROBABILITIES[:4], HAND_LABELS[:4], HAND_NAMES).classes[2]
    assert (owl.support, owl.recall, owl.low, owl.high) == (0, 0.0, 0.0, 1.0)


def test_a_wrong_certainty_has_a_finite_loss() -> None:
    result = evaluate(torch.tensor([[1.0, 0.0]]), torch.tensor([1]), ("a", "b"))
    assert result.loss == pytest.approx(-math.log(torch.finfo(torch.float32).tiny))


@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_the_figures_agree_with_each_other(count: int, classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    probabilities = (3 * torch.randn(count, classes, generator=generator)).softmax(1)
    labels = torch.randint(classes, (count,), generator=generator)
    result = evaluate(probabilities, labels, [f"class {index}" for index in range(classes)])
    trace = sum(result.confusion[index][index] for index in range(classes))
    assert sum(map(sum, result.confusion)) == result.count == count
    assert result.accuracy == pytest.approx(trace / count)
    assert result.accuracy == pytest.approx((probabilities.argmax(1) == labels).float().mean().item())
    for index, row in enumerate(result.classes):
        assert row.support == sum(result.confusion[index]) == int((labels == index).sum())
        assert row.recall == row.accuracy
        assert row.low <= row.accuracy <= row.high
        assert min(row.precision, row.recall) <= row.f1 + 1e-12
        assert row.f1 <= max(row.precision, row.recall) + 1e-12
    for value in (result.macro_precision, result.macro_recall, result.macro_f1):
        assert 0 <= value <= 1
    expected = nn.functional.nll_loss(probabilities.double().log(), labels).item()
    assert result.loss == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("probabilities", "labels", "match"),
    [
        (HAND_PROBABILITIES, HAND_LABELS[:4], "shapes"),
        (HAND_PROBABILITIES[:, :2], HAND_LABELS, "shapes"),
        (HAND_PROBABILITIES[0], HAND_LABELS, "shapes"),
        (HAND_PROBABILITIES[:0], HAND_LABELS[:0], "at least one image"),
        (HAND_PROBABILITIES, HAND_LABELS.float(), "integers"),
        (HAND_PROBABILITIES, HAND_LABELS + 1, "0..2"),
        (HAND_PROBABILITIES, HAND_LABELS - 1, "0..2"),
        (HAND_PROBABILITIES.log(), HAND_LABELS, "not logits"),
        (HAND_PROBABILITIES * math.nan, HAND_LABELS, "NaN"),
    ],
)
def test_evaluate_refuses_what_does_not_fit(probabilities: Tensor, labels: Tensor, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        evaluate(probabilities, labels, HAND_NAMES)


# ---- files


def test_written_files_read_back(tmp_path: Path) -> None:
    folder, result = tmp_path / "new" / "folder", hand_evaluation()
    write_evaluation(folder, result, HAND_PROBABILITIES, HAND_LABELS, stem="test")
    kinds = ("metrics.json", "per_class.csv", "confusion.csv", "roc_auc.csv", "predictions.csv")
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"test_{kind}" for kind in kinds)

    metrics = json.loads((folder / "test_metrics.json").read_text(encoding="utf-8"))
    assert metrics["accuracy"] == result.accuracy
    assert metrics["confusion"] == [list(row) for row in result.confusion]
    assert metrics["classes"][1]["name"] == "dog"

    per_class = pd.read_csv(folder / "test_per_class.csv")
    assert per_class["name"].tolist() == list(HAND_NAMES)
    assert per_class["f1"].tolist() == pytest.approx([row.f1 for row in result.classes])

    confusion = pd.read_csv(folder / "test_confusion.csv", index_col="true")
    assert confusion.loc["owl", "cat"] == 1
    assert confusion.to_numpy().tolist() == metrics["confusion"]

    areas = pd.read_csv(folder / "test_roc_auc.csv")
    assert areas["name"].tolist() == list(HAND_NAMES)
    assert areas["positives"].tolist() == [3, 1, 1]
    assert areas["auc"].between(0, 1).all()

    predictions = pd.read_csv(folder / "test_predictions.csv")
    assert predictions.columns.tolist() == [
        "index",
        "true",
        "predicted",
        "confidence",
        "p_cat",
        "p_dog",
        "p_owl",
    ]
    assert predictions["predicted"].tolist() == ["cat", "dog", "cat", "dog", "cat"]
    assert predictions["true"].tolist() == ["cat", "cat", "cat", "dog", "owl"]
    columns = predictions[["p_cat", "p_dog", "p_owl"]].to_numpy()
    assert torch.equal(torch.tensor(columns, dtype=torch.float32), HAND_PROBABILITIES)  # no digit lost


def test_writing_again_replaces(tmp_path: Path) -> None:
    result = hand_evaluation()
    write_evaluation(tmp_path, result, HAND_PROBABILITIES, HAND_LABELS, stem="val")
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_evaluation(tmp_path, result, HAND_PROBABILITIES, HAND_LABELS, stem="val")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_names_with_commas_and_quotes_survive(tmp_path: Path) -> None:
    names = ("a, b", 'say "c"', "dé")
    result = evaluate(HAND_PROBABILITIES, HAND_LABELS, names)
    write_evaluation(tmp_path, result, HAND_PROBABILITIES, HAND_LABELS, stem="test")
    assert pd.read_csv(tmp_path / "test_per_class.csv")["name"].tolist() == list(names)
    assert pd.read_csv(tmp_path / "test_confusion.csv", index_col="true").columns.tolist() == list(names)
