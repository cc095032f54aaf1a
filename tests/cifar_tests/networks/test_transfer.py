"""Transfer learning: where weights come from, what trains, what stays to the bit, and how images are resized."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, resnet18
from torchvision.transforms.v2 import functional as tv

from cifar import checkpoint
from cifar.candidate import Candidate
from cifar.data.prepare import prepare
from cifar.data.splits import TrainingSplit, load_training_split
from cifar.data.toy import toy_npz
from cifar.errors import CheckpointError, ConfigError, DataError
from cifar.networks.imagenet import TransferConfig, parse_parts, with_options
from cifar.networks.imagenet_network import EVALUATED_AT_ONCE
from cifar.normalization import Normalization
from cifar.parameter_groups import parameter_groups
from cifar.recipe import Augmentation, Optimizer, Recipe, Schedule
from cifar.runtime.device import Device
from cifar.train import Training

CPU = Device(torch.device("cpu"), None)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> TrainingSplit:
    folder = tmp_path_factory.mktemp("toy")
    return load_training_split(prepare(toy_npz(folder / "toy.npz", train=120, size=16), cache=folder), val_size=24)


@pytest.fixture(scope="module")
def imagenet() -> dict[str, Tensor]:
    """What torchvision's file holds: a state dict of 1,000 classes, here of random weights and moved statistics."""
    torch.manual_seed(5)
    state: dict[str, Tensor] = resnet18().state_dict()
    for key, value in state.items():
        if key.endswith("running_mean"):
            value.uniform_(-0.1, 0.1)
    return state


@pytest.fixture
def weights(imagenet: dict[str, Tensor], tmp_path: Path) -> Path:
    torch.save(imagenet, tmp_path / "resnet18.pth")
    return tmp_path / "resnet18.pth"


def candidate(weights: Path, recipe: Recipe | None = None, **changes: Any) -> Candidate:
    recipe = recipe or Recipe(
        batch_size=24,
        optimizer=Optimizer("adam", lr=1e-3, weight_decay=0.1),
        schedule=Schedule("constant"),
        augmentation=Augmentation(crop_padding=0),
        statistics="imagenet",
    )
    return Candidate(TransferConfig(weights=str(weights), resize=32, num_classes=4, image_size=16, **changes), recipe)


def trained(start: Candidate, split: TrainingSplit) -> Training:
    training = Training(start, split, device=CPU, epochs=1, seed=0)
    for result in training.run():
        assert result.train_loss < 10
    return training


# Where weights come from.


def test_a_file_gives_the_backbone_and_leaves_a_new_head(weights: Path, imagenet: dict[str, Tensor]) -> None:
    config = TransferConfig(weights=str(weights))
    network = config.build()
    head = network.fc.weight.clone()
    config.start(network)
    for key, value in network.state_dict().items():
        if not key.startswith("fc."):
            assert torch.equal(value, imagenet[key]), key
    assert torch.equal(network.fc.weight, head)
    assert network.fc.weight.shape == (10, 512)


def test_a_file_of_as_many_classes_gives_the_head_too(tmp_path: Path) -> None:
    torch.save(resnet18(num_classes=10).state_dict(), tmp_path / "ten.pth")
    config = TransferConfig(weights=str(tmp_path / "ten.pth"))
    network = config.build()
    config.start(network)
    assert torch.equal(network.fc.weight, torch.load(tmp_path / "ten.pth", weights_only=True)["fc.weight"])


def test_the_official_weights_come_by_their_enum(
    imagenet: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url: str = ResNet18_Weights.IMAGENET1K_V1.url
    folder = tmp_path / "hub" / "checkpoints"  # torch's download cache: nothing is downloaded if the file is there
    folder.mkdir(parents=True)
    torch.save(imagenet, folder / url.rpartition("/")[2])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    config = TransferConfig()
    network = config.build()
    config.start(network)
    assert torch.equal(network.layer4[1].conv2.weight, imagenet["layer4.1.conv2.weight"])


def test_a_failed_download_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> Any:
        raise OSError("Network is unreachable")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    config = TransferConfig()
    with pytest.raises(
        DataError, match=r"resnet18 .*download\.pytorch\.org.*Network is unreachable.*--weights FILE"
    ) as e:
        config.start(config.build())
    assert "\n" not in str(e.value)


def test_random_weights_need_no_file() -> None:
    config = TransferConfig(weights="random")
    network = config.build()
    before = network.conv1.weight.clone()
    config.start(network)
    assert torch.equal(network.conv1.weight, before)


def test_building_reads_no_weights(tmp_path: Path) -> None:
    """So that a trained model opens without a network and without the file that it began from."""
    start = candidate(tmp_path / "gone.pth")
    model = checkpoint.TrainedModel(start.network.build(), start, Normalization((0.5,) * 3, (0.2,) * 3), tuple("abcd"))
    checkpoint.save_model(tmp_path / "model", model)
    loaded = checkpoint.load_model(tmp_path / "model")
    for key, value in model.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[key], value)


def test_files_of_another_network_list_the_first_mismatches(weights: Path) -> None:
    config = TransferConfig(architecture="resnet34", weights=str(weights))
    with pytest.raises(CheckpointError, match=r"read as resnet34: layer1\.2\.conv1\.weight is missing; .*and \d+ more"):
        config.start(config.build())
    config = TransferConfig(architecture="resnet50", weights=str(weights))
    words = r"layer1\.0\.conv1\.weight has the shape \(64, 64, 3, 3\) instead of \(64, 64, 1, 1\)"
    with pytest.raises(CheckpointError, match=words) as caught:
        config.start(config.build())
    assert "\n" not in str(caught.value)


def test_keys_that_the_network_lacks_are_told(imagenet: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(imagenet | {"classifier.weight": torch.zeros(1)}, tmp_path / "more.pth")
    config = TransferConfig(weights=str(tmp_path / "more.pth"))
    with pytest.raises(CheckpointError, match=r"classifier\.weight is not in the network"):
        config.start(config.build())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "must be a file that exists"),
        (b"", "undamaged weights file"),
        (b"<html>not found</html>", "undamaged weights file"),
        ([torch.zeros(1)], "tensors by name; got list"),
        ({}, "got an empty dictionary"),
        ({"state_dict": {}, "epoch": 3}, "a dictionary with the keys state_dict, epoch"),
        (nn.Linear(1, 1), "undamaged weights file"),  # a pickled module would execute code
    ],
)
def test_damaged_and_strange_files_are_refused(content: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "strange.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    config = TransferConfig(weights=str(path))
    with pytest.raises(CheckpointError, match=words) as caught:
        config.start(config.build())
    assert "\n" not in str(caught.value)


# What trains.


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_frozen_layers_stay_to_the_bit(
    ema_decay: float, weights: Path, imagenet: dict[str, Tensor], split: TrainingSplit
) -> None:
    start = candidate(weights)
    start = replace(start, recipe=replace(start.recipe, ema_decay=ema_decay))
    after = trained(start, split).final_network().state_dict()
    for key, value in imagenet.items():
        trains = key.startswith(("layer4.", "fc."))
        assert trains or torch.equal(after[key], value), key
    for key in ("layer4.0.conv1.weight", "layer4.1.bn2.bias", "layer4.0.bn1.running_mean"):
        assert not torch.equal(after[key], imagenet[key]), key


def test_frozen_batch_norm_may_follow_the_data(
    weights: Path, imagenet: dict[str, Tensor], split: TrainingSplit
) -> None:
    after = trained(candidate(weights, freeze_norm=False), split).final_network().state_dict()
    for key, value in imagenet.items():
        if not key.startswith(("layer4.", "fc.")):
            adapts = key.endswith(("running_mean", "running_var", "num_batches_tracked"))
            assert torch.equal(after[key], value) != adapts, key


def test_unfrozen_parts_train(weights: Path, imagenet: dict[str, Tensor], split: TrainingSplit) -> None:
    start = candidate(weights)
    network = with_options(start.network, weights=None, unfreeze="layer3,layer4")
    after = trained(replace(start, network=network), split).final_network().state_dict()
    changed = {
        key.partition(".")[0] for key in imagenet if key[:2] != "fc" and not torch.equal(after[key], imagenet[key])
    }
    assert changed == {"layer3", "layer4"}


@pytest.mark.parametrize(
    ("text", "trainable"),
    [
        ("none", {"fc"}),
        ("layer4", {"layer4", "fc"}),
        (" layer3, fc,layer4 ", {"layer3", "layer4", "fc"}),
        ("stem", {"conv1", "bn1", "fc"}),
        ("all", {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"}),
    ],
)
def test_parts_by_name(text: str, trainable: set[str]) -> None:
    network = TransferConfig(trainable=parse_parts(text), weights="random").build()
    assert {name.partition(".")[0] for name, p in network.named_parameters() if p.requires_grad} == trainable


def test_options_are_refused_where_they_mean_nothing() -> None:
    with pytest.raises(ConfigError, match=r"ImageNet weights; got a network of kind 'resnet'.*--keep"):
        with_options(Candidate().network, weights=Path("x.pth"), unfreeze=None)
    with pytest.raises(ConfigError, match=r"got 'layer9'\. Parts: stem"):
        with_options(TransferConfig(), weights=None, unfreeze="layer9")


def test_head_and_backbone_have_rates_of_their_own(weights: Path, split: TrainingSplit) -> None:
    start = candidate(weights)
    slow = replace(start.recipe, optimizer=Optimizer("sgd", lr=0.1, backbone_lr_factor=0.01))
    training = Training(replace(start, recipe=slow), split, device=CPU, epochs=1, seed=0)
    groups = training.optimizer.param_groups
    assert [len(group["params"]) for group in groups] == [2, 15]  # fc; layer4's convolutions and norms
    (result,) = training.run()
    assert [group["lr"] for group in groups] == pytest.approx([result.lr, 0.01 * result.lr])


def test_head_and_backbone_with_undecayed_vectors() -> None:
    network = TransferConfig(weights="random").build()
    settings = Optimizer(backbone_lr_factor=0.5, decay_norm_and_bias=False, weight_decay=0.1)
    groups = parameter_groups(network, settings)
    assert [(g["lr_factor"], g["weight_decay"]) for g in groups] == [(1.0, 0.1), (1.0, 0.0), (0.5, 0.1), (0.5, 0.0)]
    assert sum(p.numel() for g in groups for p in g["params"]) == 8_398_858
    linear_probe = TransferConfig(weights="random", trainable=()).build()
    assert [g["lr_factor"] for g in parameter_groups(linear_probe, Optimizer(backbone_lr_factor=0.5))] == [1.0]


def test_a_backbone_rate_needs_a_head() -> None:
    with pytest.raises(ConfigError, match="named fc"):
        parameter_groups(nn.Sequential(nn.Linear(2, 2)), Optimizer(backbone_lr_factor=0.5))


def test_an_interrupted_run_ends_in_the_same_weights(weights: Path, split: TrainingSplit) -> None:
    def training() -> Training:
        return Training(candidate(weights), split, device=CPU, epochs=2, seed=3)

    whole, first, second = training(), training(), training()
    list(whole.run())
    next(first.run())
    second.load_state_dict(first.state_dict())
    list(second.run())
    continued = second.final_network().state_dict()
    for key, value in whole.final_network().state_dict().items():
        assert torch.equal(continued[key], value), key


# How images are resized.


def test_it_is_torchvisions_network_on_torchvisions_resized_images(imagenet: dict[str, Tensor]) -> None:
    config = TransferConfig(weights="random", num_classes=1000, resize=64)
    network = config.build().eval()
    network.load_state_dict(imagenet)
    plain = resnet18().eval()
    plain.load_state_dict(imagenet)
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(images), plain(tv.resize(images, [64, 64])), rtol=1e-4, atol=1e-4)


def test_many_images_are_resized_a_few_at_a_time() -> None:
    network = TransferConfig(weights="random", resize=32).build()
    sizes: list[int] = []
    network.conv1.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    images = torch.randn(EVALUATED_AT_ONCE + 6, 3, 16, 16)
    with torch.no_grad():
        network.eval()
        together = network(images)
        assert sizes == [EVALUATED_AT_ONCE, 6]
        torch.testing.assert_close(together[-6:], network(images[-6:]), rtol=1e-4, atol=1e-4)
        assert network(images[:0]).shape == (0, 10)
        network.train()
        network(images)
    assert sizes[-1] == len(images)  # batch norm sees the whole batch


def test_training_mode_leaves_frozen_parts_in_eval_mode() -> None:
    network = TransferConfig(weights="random").build()
    assert network.train() is network
    modes = {name: child.training for name, child in network.named_children() if list(child.parameters())}
    assert modes == {name: name in ("layer4", "fc") for name in modes}
    assert network.training
    network.eval()
    assert not any(module.training for module in network.modules())
    adapting = TransferConfig(weights="random", freeze_norm=False).build().train()
    assert all(module.training for module in adapting.modules())
