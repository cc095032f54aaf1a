"""The accepted forms of a data source, and the one form that all of them are brought to.

official     folder cifar-10-batches-py, a folder with it, or its tar.gz (`official`)
image tree   train/<class>/*.jpg|jpeg|png and perhaps test/<class>/..., as a folder, a tar or a zip,
             perhaps inside one more folder; classes are the sorted folder names, images sorted by path
             (`image_tree`); with a split asked for, <class>/*.jpg|jpeg|png as well
npz          train_images (N, 3, S, S) uint8, train_labels (N,), perhaps test_images and test_labels
             and class_names (k,) (`npz`)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cifar.errors import DataError
from cifar.text import printable

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

OFFICIAL_ARCHIVE = "cifar-10-python.tar.gz"
OFFICIAL_FOLDER = "cifar-10-batches-py"
TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_BATCH = "test_batch"
META_BATCH = "batches.meta"
OFFICIAL_FILES = (*TRAIN_BATCHES, TEST_BATCH, META_BATCH)
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ACCEPTED_FORMS = (
    f"the official {OFFICIAL_FOLDER} folder or {OFFICIAL_ARCHIVE}, an image folder "
    "train/<class>/*.jpg|png (or a tar, tar.gz, tar.xz or zip of one), or an .npz with train_images and "
    "train_labels"
)
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png"}
SPLIT_SEED = 0
"""Seed by which images that are not split yet are split."""
OTHER_IMAGE_SUFFIXES = {".bmp", ".gif", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class Decoded:
    """A whole data set in memory."""

    class_names: tuple[str, ...]
    """By label."""
    train_images: Images
    """(N, 3, S, S)."""
    train_labels: Labels
    """(N,)."""
    test_images: Images
    """(M, 3, S, S); M may be 0."""
    test_labels: Labels
    """(M,)."""

    def check(self, source: Path) -> None:
        """Checks what every form must fulfil.

        Args:
            source: where the images come from, for errors.

        Raises:
            DataError: they do not fulfil it.
        """

        def require(holds: bool, rule: str, got: object) -> None:
            if not holds:
                raise DataError(rule, got=f"{got} in {source}", remedy="Mend or choose another data source")

        classes = len(self.class_names)
        train_shape, test_shape = self.train_images.shape, self.test_images.shape
        require(train_shape[0] > 0, "a data source must hold training images", "none")
        require(train_shape[2] == train_shape[3] > 0, "images must be square", train_shape[2:])
        require(test_shape[1:] == train_shape[1:], "test images must be as large as training images", test_shape[2:])
        require(classes >= 2, "a data source must have at least 2 classes", classes)
        require(len(set(self.class_names)) == classes, "class names must differ", printable(self.class_names, 200))
        for split, labels in (("train", self.train_labels), ("test", self.test_labels)):
            strange = labels[(labels < 0) | (labels >= classes)]
            require(len(strange) == 0, f"{split} labels must be in 0..{classes - 1}", strange[:1].tolist())

    def split(self, share: float, source: Path) -> Decoded:
        """The same with test images taken from the training images, of each class alike; the same ones every time.

        Args:
            share: share of each class that stays for training, between 0 and 1; at least one image stays, and at
                least one of a class that has two goes.
            source: where the images come from, for errors.

        Raises:
            DataError: there are test images already.
        """
        if len(self.test_labels):
            raise DataError(
                "--split is for images that are not split yet",
                got=f"{len(self.test_labels)} test images in {source}",
                remedy="Leave --split out",
            )
        order = np.random.RandomState(SPLIT_SEED).permutation(len(self.train_labels))
        test = np.zeros(len(order), dtype=bool)
        for label in range(len(self.class_names)):
            of_class = order[self.train_labels[order] == label]
            test[of_class[: min(len(of_class) - 1, max(1, round((1 - share) * len(of_class))))]] = True
        images, labels = self.train_images, self.train_labels
        return Decoded(self.class_names, images[~test], labels[~test], images[test], labels[test])


def unsplit(source: Path) -> DataError:
    """The error for folders of classes that are not split into training and test images."""
    return DataError(
        "images must lie in train/<class>/ and test/<class>/",
        got=f"{source}, with classes but no train/",
        remedy="Give --split 0.8, which keeps one of five images of each class for the test",
    )


def unknown_form(source: Path) -> DataError:
    """The error for a source in no accepted form."""
    return DataError("a data source must be in an accepted form", got=source, remedy=f"Give {ACCEPTED_FORMS}")
