"""The HTML page of a run."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from cifar.candidate import Candidate
from cifar.data.images import ImageSet
from cifar.evaluate import Evaluation, evaluate
from cifar.networks.receptive_field import layer_rows
from cifar.networks.resnet import ResNetConfig
from cifar.recipe import Augmentation, Recipe
from cifar.stats.roc import RocCurve, roc_curves
from search.reporting.pages.gallery import errors, strips, successes
from search.reporting.pages.run_figures import CURVE_POINTS, MOST_CURVES
from search.reporting.pages.run_page import RunPage, write_run_page
from tests.browser import Browser
from tests.search_tests.reporting.elements import HOSTILE, Elements, figures

NAMES = ("airplane", "automobile", "bird", "cat")


def predictions(classes: int = len(NAMES), strength: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (N, C) and labels (N,)."""
    labels = torch.arange(classes).repeat_interleave(50)
    logits = torch.randn(len(labels), classes, generator=torch.Generator().manual_seed(0))
    logits[torch.arange(len(labels)), labels] += strength
    return logits.softmax(1), labels


def evaluation(names: tuple[str, ...] = NAMES, strength: float = 2.0) -> Evaluation:
    return evaluate(*predictions(len(names), strength), names)


def curves(names: tuple[str, ...] = NAMES, strength: float = 2.0) -> tuple[RocCurve, ...]:
    return roc_curves(*predictions(len(names), strength), names)


def pictures(names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """The parts of a page that show images or the network."""
    probabilities, labels = predictions(len(names))
    images = torch.randint(0, 256, (len(labels), 3, 8, 8), dtype=torch.uint8)
    shown, config = ImageSet(images, labels), ResNetConfig()
    return {
        "errors": errors(shown, probabilities, names, 5),
        "successes": successes(shown, probabilities, names, 6),
        "strips": strips(shown, names, Augmentation(), fill=(0, 0, 0)),
        "layers": layer_rows(config.layers(), config.image_size),
    }


def run_page(**changes: Any) -> RunPage:
    history = [
        {
            "epoch": e,
            "train_loss": 2 / e,
            "train_accuracy": 1 - 1 / e,
            "val_loss": 2.1 / e,
            "val_accuracy": 0.9,
        }
        | {"lr": 0.1 / e, "seconds": 3.25}
        for e in range(1, 6)
    ]
    page = RunPage(
        title="trial 12 of study toy",
        facts={"parameters": "4,916,284", "seed": "42"},
        history=history,
        evaluations={"test": evaluation(), "test, augmented": evaluation(strength=3.0)},
        candidate={"network": {"blocks": [3, 4, 3]}, "recipe": {"epochs": 5}},
    )
    return dataclasses.replace(page, **changes)


def written(folder: Path, page: RunPage) -> Elements:
    path = folder / "page.html"
    write_run_page(path, page)
    return Elements(path.read_text(encoding="utf-8"))


def test_the_page_shows_the_numbers(tmp_path: Path) -> None:
    page = run_page()
    elements = written(tmp_path, page)
    text = elements.text.replace("\u00a0", " ")
    main = page.evaluations["test"]
    for value in (main.accuracy, main.macro_f1):
        assert f"{100 * value:.2f} %" in text
    assert f"95 % interval {100 * main.low:.2f}\u2013{100 * main.high:.2f} %" in text
    for expected in (
        "trial 12 of study toy",
        "4,916,284",
        '"blocks"',
        "airplane",
        "test, augmented",
        "Epoch by epoch",
    ):
        assert expected in text
    assert elements.count("h1") == 1
    assert elements.count("table") == elements.count("caption") == 5
    assert elements.count("figure") == elements.count("figcaption") == 5


def test_the_figures_hold_the_numbers(tmp_path: Path) -> None:
    page = run_page()
    shown = figures(written(tmp_path, page))
    main = page.evaluations["test"]
    training, validation = shown["loss"]["data"]
    assert (training["name"], validation["name"]) == ("training", "validation")
    assert training["y"] == [epoch["train_loss"] for epoch in page.history]
    assert shown["lr"]["data"][0]["x"] == [1, 2, 3, 4, 5]
    bars = shown["classes"]["data"][0]
    assert bars["x"] == [row.accuracy for row in main.classes]
    assert [a + b for a, b in zip(bars["x"], bars["error_x"]["array"], strict=True)] == pytest.approx(
        [row.high for row in main.classes]
    )
    heat, counts = shown["confusion"]["data"]
    assert [int(count) for count in counts["text"]] == [count for row in main.confusion for count in row]
    assert [[int(count) for count in row] for row in heat["text"]] == [list(row) for row in main.confusion]


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    elements = written(tmp_path, run_page(evaluations={"test": evaluation(HOSTILE)}, **pictures(HOSTILE)))
    assert elements.count("img") > 0
    for tag, attributes in elements.tags:
        assert not {"href", "srcset", "action", "data"} & set(attributes), tag
        assert str(attributes.get("src", "data:image/png;base64,")).startswith("data:image/png;base64,"), tag
    policy = next(a["content"] for t, a in elements.tags if t == "meta" and "http-equiv" in a)
    assert policy
    assert policy.startswith("default-src 'none'; ")
    assert "http" not in policy
    assert len(elements.scripts) == 3  # figures as data, plotly.js once, the drawing
    assert "http" not in elements.scripts[2]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    page = run_page(
        title=HOSTILE[0],
        facts={HOSTILE[0]: HOSTILE[1], "parameters": HOSTILE[2]},
        evaluations={HOSTILE[0]: evaluation(HOSTILE), HOSTILE[2]: evaluation()},
        candidate={HOSTILE[0]: HOSTILE[3]},
        curves=curves(HOSTILE),
        **pictures(HOSTILE),
    )
    elements, harmless = written(tmp_path, page), written(tmp_path, run_page(curves=curves(), **pictures()))
    tags, expected = ({tag for tag, _ in one.tags} for one in (elements, harmless))
    assert tags == expected
    assert len(elements.scripts) == 3
    assert elements.scripts[1:] == harmless.scripts[1:]
    assert "<" not in elements.scripts[0]
    labels = figures(elements)["classes"]["layout"]["yaxis"]["ticktext"]
    assert not any("<" in label for label in labels)  # plotly would read tags in them
    names = [curve["name"] for curve in figures(elements)["roc"]["data"]]
    assert not any("<" in name for name in names)
    for name in HOSTILE:
        assert name in elements.text


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([], {"classes", "confusion"}),
        ([{"train_loss": 1.0, "train_accuracy": 0.5}], {"classes", "confusion", "loss", "accuracy"}),
    ],
)
def test_missing_history_leaves_figures_out(
    tmp_path: Path, history: list[dict[str, float]], expected: set[str]
) -> None:
    elements = written(tmp_path, run_page(history=history))
    assert set(figures(elements)) == expected == elements.ids() - {"figures"}
    assert "validation" not in elements.scripts[0]


def test_mixed_images_are_named_and_explain_the_training_accuracy(tmp_path: Path) -> None:
    mixing = Augmentation(cutmix=1.0)
    shown = ImageSet(torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8), torch.arange(4))
    candidate = Candidate(recipe=Recipe(augmentation=mixing, label_smoothing=0.1)).to_dict()
    rows = strips(shown, NAMES, mixing, fill=(0, 0, 0))
    text = written(tmp_path, run_page(candidate=candidate, strips=rows)).text
    assert "Images were mixed by CutMix (alpha 1): only the class of the image itself counts" in text
    assert "Training images are augmented, mixed and have smoothed labels" in text
    mixed = [words for row in rows for words in row.words if "%" in words]
    assert mixed
    assert all(words in text for words in mixed)
    plain = written(tmp_path, run_page()).text
    assert "mixed by" not in plain
    assert not any(row.words for row in strips(shown, NAMES, Augmentation(), fill=(0, 0, 0)))


def test_parameters_stand_beside_their_limit(tmp_path: Path) -> None:
    text = written(tmp_path, run_page(limit=5_000_000)).text
    assert text.count("of at most 5,000,000") == 2  # headline and table
    assert "at most" not in written(tmp_path, run_page()).text


def test_a_diverged_epoch_leaves_a_gap(tmp_path: Path) -> None:
    history = [
        {"epoch": 1.0, "train_loss": 1.0},
        {"epoch": 1.5, "train_loss": math.nan},
        {"train_loss": math.inf},
    ]
    curve = figures(written(tmp_path, run_page(history=history)))["loss"]["data"][0]
    assert curve["y"] == [1.0, None, None]
    assert curve["x"] == [1.0, 1.5, 3]


def test_a_perfect_network_has_no_confusions(tmp_path: Path) -> None:
    assert (
        "No image was misclassified" in written(tmp_path, run_page(evaluations={"test": evaluation(strength=50)})).text
    )


def test_many_classes_of_one_name_stay_apart(tmp_path: Path) -> None:
    shown = figures(written(tmp_path, run_page(evaluations={"test": evaluation(("same",) * 25)})))
    assert len(shown["classes"]["data"][0]["y"]) == 25
    assert len(shown["confusion"]["data"]) == 1  # no room for counts


def test_pictures_and_the_network_are_shown(tmp_path: Path) -> None:
    parts = pictures()
    elements = written(tmp_path, run_page(**parts))
    images = [str(attributes["src"]) for tag, attributes in elements.tags if tag == "img"]
    expected = [uri for strip in parts["strips"] for uri in strip.uris]
    assert images == expected + [picture.uri for picture in (*parts["errors"], *parts["successes"])]
    for picture in (*parts["errors"], *parts["successes"]):
        assert picture.lines[0] in elements.text
        assert picture.lines[1] in elements.text
    cost = ResNetConfig().cost()
    assert f"{cost.parameters:,} parameters, {cost.macs:,} multiply-accumulates" in elements.text
    assert "stages.2.1.convs.1" in elements.text
    assert "64\u00d78\u00d78" in elements.text
    assert "no image" not in elements.text.lower()


def test_roc_curves_show_their_areas(tmp_path: Path) -> None:
    elements = written(tmp_path, run_page(curves=curves()))
    drawn = figures(elements)["roc"]["data"]
    for curve, line in zip(curves(), drawn, strict=True):
        assert f"{curve.auc:.4f}" in elements.text
        assert (line["name"], line["x"][0], line["y"][-1]) == (curve.name, 0, 1)
        points = set(zip(line["x"], line["y"], strict=True))
        whole = zip(curve.false_positive_rates, curve.true_positive_rates, strict=True)
        assert points <= {(round(x, 5), round(y, 5)) for x, y in whole}
    assert "Upper left corner" in elements.text
    assert figures(elements)["roc-corner"]["layout"]["xaxis"]["range"][1] < 0.5


def test_curves_near_chance_have_no_corner(tmp_path: Path) -> None:
    elements = written(tmp_path, run_page(curves=curves(strength=0.0)))
    assert "roc" in figures(elements)
    assert "roc-corner" not in figures(elements)


def test_many_classes_show_the_smallest_areas(tmp_path: Path) -> None:
    names = tuple(f"class {k}" for k in range(25))
    elements = written(tmp_path, run_page(evaluations={"test": evaluation(names)}, curves=curves(names)))
    drawn = {line["name"] for line in figures(elements)["roc"]["data"]}
    by_area = sorted(curves(names), key=lambda curve: curve.auc or 0)
    assert drawn == {curve.name for curve in by_area[:MOST_CURVES]}
    assert f"the {MOST_CURVES} of least area" in elements.text


def test_a_long_curve_is_thinned(tmp_path: Path) -> None:
    labels = torch.arange(2).repeat(10_000)
    probabilities = (torch.randn(20_000, 2) + 2 * torch.eye(2)[labels]).softmax(1)
    many = roc_curves(probabilities, labels, ("a", "b"))
    elements = written(
        tmp_path, run_page(evaluations={"test": evaluate(probabilities, labels, ("a", "b"))}, curves=many)
    )
    for line in figures(elements)["roc"]["data"]:
        assert CURVE_POINTS / 2 < len(line["x"]) <= CURVE_POINTS
        assert (line["x"][0], line["y"][0], line["x"][-1], line["y"][-1]) == (0, 0, 1, 1)


def test_a_page_needs_an_evaluation() -> None:
    with pytest.raises(ValueError, match="at least one evaluation"):
        run_page(evaluations={})


def test_writing_is_repeatable_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_run_page(path, run_page())
    first = path.read_bytes()
    write_run_page(path, run_page())
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]


def test_a_browser_draws_every_figure(tmp_path: Path, browser: Browser) -> None:
    parts = {"curves": curves(HOSTILE), **pictures(HOSTILE)}
    page = run_page(evaluations={"test": evaluation(HOSTILE)}, title=HOSTILE[0], **parts)
    elements = written(tmp_path, page)
    opened = browser.open(tmp_path / "page.html")
    assert opened.console == []
    figures = elements.ids() - {"figures"}
    assert figures == {"loss", "accuracy", "lr", "classes", "confusion", "roc", "roc-corner"}
    assert all(map(opened.draws, figures))
    links = [attributes for tag, attributes in Elements(opened.dom).tags if tag == "a"]
    assert not any({"href", "xlink:href"} & set(attributes) for attributes in links)
    assert re.search(r"<title>&lt;/script&gt;", opened.dom)  # the hostile title was not run
