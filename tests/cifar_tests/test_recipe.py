"""Recipes and candidates: files, round trips, errors that name key, value and what is allowed."""

from __future__ import annotations

import csv
import json
import pickle
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from cifar.candidate import Candidate, RecipeFile
from cifar.config import from_dict, to_dict
from cifar.errors import ConfigError, DataError, UserError
from cifar.networks.complexity import Cost, measure_cost
from cifar.networks.fast_resnet import FastResNetConfig
from cifar.networks.reference import CnnConfig
from cifar.networks.registry import NETWORKS, register
from cifar.networks.resnet import REFERENCE_RESNET, ResNetConfig
from cifar.recipe import Augmentation, Optimizer, Recipe, Schedule, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_file_reads_and_round_trips(name: str) -> None:
    candidate = Candidate.named(name)
    assert Candidate.from_dict(json.loads(json.dumps(candidate.to_dict())), where=name) == candidate


def test_the_recipe_to_beat_is_as_published() -> None:
    candidate = Candidate.named("resnet24_budget5m")
    recipe = candidate.recipe
    assert candidate.cost.parameters == 4_916_284
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.optimizer.weight_decay) == ("sgd", 0.1, 2e-4)
    assert (recipe.schedule.name, recipe.schedule.warmup_epochs, recipe.epochs) == ("cosine", 10, 60)
    assert (recipe.augmentation.randaugment_ops, recipe.augmentation.randaugment_magnitude) == (2, 9)
    assert recipe.augmentation.erasing_area == (0.02, 0.33)
    assert recipe.label_smoothing == 0.05


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"epoch": 3}, r"x\.toml: unknown key 'epoch'; got 3\. Allowed keys here: epochs, batch_size"),
        ({"optimizer": {"rate": 1}}, r"unknown key 'optimizer\.rate'.*name, lr, weight_decay"),
        ({"optimizer": {"lr": "3"}}, r"optimizer\.lr: input should be a valid number, or .*'range_test'; got '3'"),
        ({"optimizer": {"backbone_lr_factor": 0.0}}, r"backbone_lr_factor must be in \(0, 1\]"),
        ({"augmentation": {"erasing_area": [0.1]}}, r"augmentation\.erasing_area"),
        ({"optimizer": {"lr": -1.0}}, r"x\.toml: optimizer\.lr must be positive; got -1"),
        ({"optimizer": {"name": "lion"}}, r"'sgd', 'adamw', 'adam', 'rmsprop' or 'muon'; got 'lion'"),
        ({"batch_size": True}, r"batch_size.*integer; got True"),
        ({"augmentation": {"erasing_area": [0.5, 0.1]}}, "erasing_area"),
        ({"optimizer": {"name": "adam", "nesterov": True}}, "nesterov needs sgd"),
        ({"epochs": 5, "schedule": {"warmup_epochs": 9}}, "warmup_epochs must not exceed"),
        ({"val_size": 0, "early_stopping": 3}, "need validation images"),
        ({"optimizer": {"bias_lr_factor": 0.0}}, r"bias_lr_factor must be positive; got 0\.0"),
        ({"optimizer": {"name": "muon", "other_momentum": 1.0}}, r"other_momentum must be in \[0, 1\)"),
        ({"optimizer": {"renormalize_filters": True}}, r"need muon; got 'sgd, 1\.0, 0\.85, True'"),
        ({"epochs": 9, "schedule": {"warmup_epochs": 5, "cooldown_epochs": 5}}, "must not exceed epochs together"),
        ({"schedule": {"cooldown_shape": "cosine"}}, r"'linear' or 'sqrt'; got 'cosine'"),
        ({"augmentation": {"flip": False, "alternating_flip": True}}, "alternating_flip needs flip = true"),
        ({"augmentation": {"mixing_probability": 0.0}}, r"mixing_probability must be in \(0, 1\]"),
        ({"augmentation": {"ricap": -0.3}}, "ricap must be 0 or more"),
        ({"lookahead_decay": 1.0}, r"lookahead_decay must be in \[0, 1\)"),
        ({"resolution_start": 1.5}, r"resolution_start must be in \(0, 1\]"),
        ({"full_resolution_after": -0.1}, r"full_resolution_after must be in \[0, 1\]"),
    ],
)
def test_wrong_recipes_name_key_value_and_remedy(data: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        from_dict(Recipe, data, where="x.toml")
    assert "\n" not in str(caught.value)


def test_toml_file_errors(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[network\n")
    with pytest.raises(ConfigError, match="valid TOML"):
        Candidate.from_toml(broken)
    with pytest.raises(ConfigError, match="file that exists"):
        Candidate.from_toml(tmp_path / "none.toml")
    broken.write_text("[network]\nkind = 'mlp'\n[recipe]\n")
    with pytest.raises(ConfigError, match=r"broken\.toml: network\.kind.*'mlp'.*resnet"):
        Candidate.from_toml(broken)
    broken.write_text("[network]\n")
    with pytest.raises(ConfigError, match="recipe must be a table"):
        Candidate.from_toml(broken)
    broken.write_text("[networks]\n[recipe]\n")
    with pytest.raises(ConfigError, match=r"broken\.toml: unknown key 'networks'.*about, published, network, recipe"):
        Candidate.from_toml(broken)
    for line, words in (
        ("about = 3", "about must be a text"),
        ("published = 90.0", "published must be a table"),
        ("published = { test_accuracy = 900.0 }", r"broken\.toml: published: accuracies must be in \[0, 100\]"),
        ("published = { accuracy = 90.0 }", "unknown key 'accuracy'.*test_accuracy"),
        ("longer = 3", "longer must be a list of tables"),
        ("longer = [3]", "longer, number 1 must be a table"),
        ("longer = [{ why = 'more time' }]", "longer, number 1: passes must be a positive number"),
        ("longer = [{ passes = 9 }]", "longer, number 1: why must be a text"),
        ("longer = [{ passes = 9, why = '', recipes = {} }]", "longer, number 1: unknown key 'recipes'"),
    ):
        broken.write_text(f"{line}\n[network]\n[recipe]\n")
        with pytest.raises(ConfigError, match=words):
            Candidate.from_toml(broken)


def test_longer_runs_change_what_they_name_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "short.toml"
    path.write_text(
        """
        [network]
        kind = "fast_resnet"
        activation = "silu"
        [recipe]
        batch_size = 512
        optimizer = { lr = 0.3, momentum = 0.8 }
        [[longer]]
        passes = 8
        why = "a wider network pays"
        network = { widths = [64, 256, 256] }
        [[longer]]
        passes = 20.5
        why = "weight decay pays too"
        recipe = { epochs = 40, optimizer = { weight_decay = 0.01 } }
        """
    )
    file = RecipeFile.read(path)
    base, (wider, decayed) = file.candidate, file.longer
    assert (wider.passes, wider.why, decayed.passes) == (8, "a wider network pays", 20.5)
    assert isinstance(base.network, FastResNetConfig)
    assert wider.candidate == replace(base, network=replace(base.network, widths=(64, 256, 256)))
    optimizer = replace(base.recipe.optimizer, weight_decay=0.01)
    assert decayed.candidate == replace(base, recipe=replace(base.recipe, epochs=40, optimizer=optimizer))


def test_recipes_of_older_files_keep_their_meaning() -> None:
    old = to_dict(Recipe())
    del old["optimizer"]["backbone_lr_factor"]
    assert from_dict(Recipe, old, where="test") == Recipe()


def test_an_unresolved_learning_rate_is_no_number() -> None:
    recipe = from_dict(Recipe, {"optimizer": {"lr": "range_test"}}, where="test")
    assert from_dict(Recipe, to_dict(recipe), where="test") == recipe
    with pytest.raises(ConfigError, match=r"optimizer\.lr as a number; got 'range_test'.*search\.retrain"):
        _ = recipe.optimizer.peak_lr
    assert Recipe().optimizer.peak_lr == 0.1


def test_unknown_recipe_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="resnet24_budget5m"):
        Candidate.named("resnet999")


FINGERPRINTS = {  # of the first release: what its studies and runs hold
    "baseline_cnn": "0e417dc4a26c7042",
    "cnn_64_128_256": "ba8911321ee5e358",
    "depthwise_dilated": "d9c69630b299965b",
    "resnet18_cifar": "e1ff57d1f2671b58",
    "resnet18_transfer": "383eb4b0e8168c27",
    "resnet24_budget5m": "17386ce1f525c2f6",
    "resnet50_adamw": "49fbf9ba02d4726d",
    "resnet9_onecycle": "fa39063096fe7265",
    "resnet_16_32_64": "ad0ff47bd3e13130",
    "resnet_3_5_3": "b6d2975edc66cda6",
    "resnet_fast": "188cf8e553fc19da",
}


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_later_settings_leave_the_fingerprints_of_earlier_recipes(name: str) -> None:
    assert Candidate.named(name).fingerprint == FINGERPRINTS[name]


def test_later_settings_leave_what_studies_hold() -> None:
    with Path(__file__).with_name("stored_candidates.csv").open(newline="") as file:  # of a study of version 0.1.0
        rows = list(csv.DictReader(file))
    assert len(rows) > 20
    for row in rows:
        stored = json.loads(row["candidate"])
        candidate = Candidate.from_dict(stored, where="stored_candidates.csv")
        assert (candidate.to_dict(), candidate.fingerprint) == (stored, row["fingerprint"])


def test_a_later_field_is_written_only_if_it_differs_from_its_default() -> None:
    @dataclass(frozen=True)
    class Inner:
        old: int = 1
        new: tuple[int, ...] = field(default=(2, 3), metadata={"since": "0.2"})
        made: list[int] = field(default_factory=list, metadata={"since": "0.2"})

    @dataclass(frozen=True)
    class Outer:
        inner: Inner = field(default_factory=Inner)
        many: tuple[Inner, ...] = ()

    assert to_dict(Outer()) == {"inner": {"old": 1}, "many": []}
    assert to_dict(Outer(Inner(new=(4,)), (Inner(made=[5]),))) == {
        "inner": {"old": 1, "new": [4]},
        "many": [{"old": 1, "made": [5]}],
    }


def test_fingerprint_tells_candidates_apart() -> None:
    candidate = Candidate()
    other = replace(candidate, recipe=replace(candidate.recipe, label_smoothing=0.1))
    assert candidate.fingerprint == Candidate().fingerprint
    assert candidate.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("candidate", "summary"),
    [
        (Candidate(REFERENCE_RESNET), "3-4-3 x 66-132-264 basic, sgd 0.1, cosine"),
        (
            Candidate(
                ResNetConfig(blocks=(1, 1, 1, 2), channels=(8, 8, 16, 16), block="preact"),
                Recipe(optimizer=Optimizer("adamw", lr=1.234e-3), schedule=Schedule("one_cycle")),
            ),
            "1-1-1-2 x 8-8-16-16 preact, adamw 0.0012, one_cycle",
        ),
        (Candidate(CnnConfig(), Recipe(optimizer=Optimizer("adam", lr=1e-3))), "cnn, adam 0.001, cosine"),
        (Candidate(FastResNetConfig()), "32-128-128 fast_resnet, sgd 0.1, cosine"),
        (
            Candidate(recipe=Recipe(optimizer=Optimizer(lr="range_test"))),
            "2-2-2 x 16-32-64 basic, sgd range_test, cosine",
        ),
    ],
)
def test_a_candidate_in_a_few_words(candidate: Candidate, summary: str) -> None:
    assert candidate.summary == summary


def test_estimates_take_the_recipe_to_beat_for_the_usual_network() -> None:
    assert Candidate.named("resnet24_budget5m").network == REFERENCE_RESNET


def test_for_data_changes_classes_and_size_only() -> None:
    network = Candidate().for_data(7, 16).network
    assert network == replace(ResNetConfig(), num_classes=7, image_size=16)


def test_own_network_takes_part_after_registering() -> None:
    @dataclass(frozen=True)
    class Linear:
        kind: str = "linear_for_test"
        classes: int = 10
        image_size: int = 32

        def build(self) -> nn.Module:
            return nn.Sequential(nn.Flatten(), nn.Linear(3 * self.image_size**2, self.classes))

        def cost(self) -> Cost:
            return measure_cost(self.build(), self.image_size)

        def with_classes(self, num_classes: int, image_size: int) -> Linear:
            return Linear(classes=num_classes, image_size=image_size)

    register(Linear)
    try:
        candidate = Candidate(Linear(), Recipe())
        assert Candidate.from_dict(candidate.to_dict(), where="test") == candidate
        assert candidate.cost == Cost(30_730, 30_720)
    finally:
        del NETWORKS["linear_for_test"]


def test_errors_cross_process_borders() -> None:
    error = DataError("a rule", got=3, remedy="Do that")
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is DataError
    assert str(copied) == str(error) == "a rule; got 3. Do that."
    assert isinstance(copied, UserError)


def test_to_dict_is_json_ready() -> None:
    assert to_dict(Augmentation())["erasing_area"] == [0.02, 0.33]
