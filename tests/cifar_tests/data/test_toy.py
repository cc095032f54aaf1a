"""The toy data set: accepted by `prepare`, balanced, and learnable but not trivial."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cifar.data.images import ImageSet
from cifar.data.prepare import prepare
from cifar.data.splits import load_test, load_training_split
from cifar.data.toy import toy_npz


def test_toy_is_accepted_balanced_and_repeatable(tmp_path: Path) -> None:
    path = toy_npz(tmp_path / "toy", train=42, test=12, classes=3, size=16)
    assert path == tmp_path / "toy"
    prepared = prepare(path, cache=tmp_path / "cache")
    assert prepared.class_names == ("0", "1", "2")
    assert prepared.image_size == 16
    assert load_training_split(prepared, val_size=12).train.labels.bincount().tolist() == [10, 10, 10]
    assert load_test(prepared).labels.bincount().tolist() == [4, 4, 4]
    again = prepare(toy_npz(tmp_path / "b", train=42, test=12, classes=3, size=16), cache=tmp_path / "cache")
    other = toy_npz(tmp_path / "c", train=42, test=12, classes=3, size=16, seed=1)
    assert again.fingerprint == prepared.fingerprint
    assert prepare(other, cache=tmp_path / "cache").fingerprint != prepared.fingerprint


def test_toy_without_test_split(tmp_path: Path) -> None:
    prepared = prepare(toy_npz(tmp_path / "toy.npz", train=8, test=0, size=8), cache=tmp_path / "cache")
    assert prepared.test_count == 0


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("size", [16, 32])
def test_a_small_network_learns_it_and_a_linear_one_does_not(size: int, tmp_path: Path) -> None:
    prepared = prepare(toy_npz(tmp_path / "toy.npz", size=size), cache=tmp_path / "cache")
    train = load_training_split(prepared, val_size=0).train
    test = load_test(prepared)
    small = nn.Sequential(
        nn.Conv2d(3, 16, 5, padding=2, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    )
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, 4))
    assert accuracy_after(small, train, test, epochs=5) > 0.7
    assert accuracy_after(linear, train, test, epochs=5) < 0.6


def accuracy_after(network: nn.Module, train: ImageSet, test: ImageSet, *, epochs: int) -> float:
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(epochs):
        for index in torch.split(torch.randperm(len(train)), 50):
            loss = cross_entropy(network(normal(train.images[index])), train.labels[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    network.eval()
    with torch.no_grad():
        predicted = network(normal(test.images)).argmax(dim=1)
    return float((predicted == test.labels).float().mean())


def normal(images: Tensor) -> Tensor:
    return images.float() / 255 * 4 - 2
