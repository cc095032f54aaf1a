"""A user's own pictures: a few, in folders of their classes, from the search to the final report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.retrain import main as retrain_main
from search.run import main as run_main
from search.settings import SearchSettings
from search.study.study import require_study, stored_plan

SIZE, A_CLASS = 16, 20


@pytest.fixture
def pictures(workplace: Path) -> str:
    """60 pictures of three colours, not split."""
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green", "blue")):
        (workplace / "pictures" / name).mkdir(parents=True)
        for number in range(A_CLASS):
            pixels = rng.integers(0, 100, (SIZE, SIZE, 3), dtype=np.uint8)
            pixels[:, :, channel] += 120
            Image.fromarray(pixels).save(workplace / "pictures" / name / f"{number}.png")
    return "pictures"


def test_sixty_pictures_are_searched_and_retrained(pictures: str, capsys: pytest.CaptureFixture[str]) -> None:
    space = ["--space", "resnet_budget30k", "--study", "own"]
    small = ["--trials", "1", "--max-epochs", "2", "--mac-budget", "3M", "--device", "cpu"]
    run_main([*space, "--data", pictures, "--split", "0.8", *small])
    assert "48 images for training and validation, 12 for the test: 0.8 of each class" in capsys.readouterr().out
    plan = stored_plan(require_study(SearchSettings(study="own")))
    assert (plan.val_size, plan.train_size) == (9, 39)
    retrain_main(["--study", "own", "--epochs", "1", "--device", "cpu"])
    assert "of 12 images" in capsys.readouterr().out
