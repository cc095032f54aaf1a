"""Both years' test pickles are read and wrong ones refused; a CSV is whole and right, or never written."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from cifar.errors import SubmissionError, UserError
from cifar.kaggle import submission
from cifar.kaggle import test_pickle as kaggle
from cifar.kaggle.layout import Layout
from cifar.kaggle.shift import normalisation_shift

Images = npt.NDArray[np.uint8]


def smooth_images(count: int, height: int = 32, width: int = 32) -> Images:
    """Photograph-like images (N, H, W, 3): a wave of low frequency in each channel, and a little noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width] / 32
    wave_y, wave_x, phase = rng.uniform(-1, 1, (3, count, 1, 1, 3)) * np.pi
    values = np.sin(wave_y * y[..., None] + wave_x * x[..., None] + phase) * 90 + rng.normal(0, 4, (3,)) * 10
    noise = rng.normal(0, 5, (count, height, width, 3))
    images: Images = np.clip(values + 128 + noise, 0, 255).astype(np.uint8)
    return images


HWC = smooth_images(20)
CHW = np.ascontiguousarray(HWC.transpose(0, 3, 1, 2))
FLAT = CHW.reshape(20, 3072)


def pickled(path: Path, content: object, protocol: int = 4) -> Path:
    file = path / "test.pkl"
    file.write_bytes(pickle.dumps(content, protocol))
    return file


# Layouts.


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("array", [HWC, CHW, FLAT, np.asfortranarray(HWC)], ids=["2025", "chw", "2024", "fortran"])
def test_layouts_give_the_same_images(tmp_path: Path, array: Images, protocol: int) -> None:
    content = {b"data": array, b"ids": list(range(20))}
    read = kaggle.read_pickle(pickled(tmp_path, content, protocol))
    assert read.images.dtype == torch.uint8
    assert read.images.is_contiguous()
    assert torch.equal(read.images, torch.from_numpy(CHW))
    assert read.ids == tuple(range(20))
    assert "RGB assumed" in read.layout
    assert "evidence" not in read.layout


def test_the_layout_is_told(tmp_path: Path) -> None:
    read = kaggle.read_pickle(pickled(tmp_path, {b"data": HWC, b"ids": np.arange(5, 25)}))
    assert read.layout == ("(20, 32, 32, 3) uint8: height, width, channels (HWC), RGB assumed; ids 5 to 24")


@pytest.mark.parametrize("content", [HWC, FLAT, {"data": CHW}, {b"data": HWC, b"labels": [1]}])
def test_without_ids_they_are_numbered(tmp_path: Path, content: object) -> None:
    read = kaggle.read_pickle(pickled(tmp_path, content))
    assert read.ids == tuple(range(20))
    assert "numbered from 0" in read.layout
    assert torch.equal(read.images, torch.from_numpy(CHW))


def test_other_sizes(tmp_path: Path) -> None:
    images = smooth_images(4, 48, 40)
    read = kaggle.read_pickle(pickled(tmp_path, images))
    assert torch.equal(read.images, torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))


def test_flat_rows_that_read_as_hwc_are_refused(tmp_path: Path) -> None:
    path = pickled(tmp_path, {b"data": HWC.reshape(20, 3072)})
    with pytest.raises(SubmissionError, match=r"times as rough as in the order height.*flat_hwc"):
        kaggle.read_pickle(path)
    assert torch.equal(kaggle.read_pickle(path, "flat_hwc").images, torch.from_numpy(CHW))
    assert "scrambled" in kaggle.read_pickle(path, "flat_chw").layout


@pytest.mark.parametrize(("scrambled", "layout"), [(CHW.reshape(HWC.shape), "hwc"), (HWC.reshape(CHW.shape), "chw")])
def test_wrongly_reshaped_images_are_refused(tmp_path: Path, scrambled: Images, layout: Layout) -> None:
    path = pickled(tmp_path, {b"data": scrambled})
    with pytest.raises(SubmissionError, match="reshaped in the wrong order"):
        kaggle.read_pickle(path)
    assert "scrambled" in kaggle.read_pickle(path, layout).layout


def test_flat_colours_are_evidence_too(tmp_path: Path) -> None:
    colours = np.broadcast_to(np.array([10, 120, 240], np.uint8), (5, 32, 32, 3))
    assert "evidence" not in kaggle.read_pickle(pickled(tmp_path, np.array(colours))).layout
    with pytest.raises(SubmissionError, match="as rough"):
        kaggle.read_pickle(pickled(tmp_path, colours.reshape(5, 3072)))


@pytest.mark.parametrize("values", ["noise", "black", "few"])
def test_without_evidence_the_shape_decides_and_it_is_told(tmp_path: Path, values: str) -> None:
    rng = np.random.default_rng(0)
    array = {
        "noise": rng.integers(0, 256, (50, 3072), np.uint8),
        "black": np.zeros((50, 3072), np.uint8),
        "few": rng.integers(0, 256, (1, 3 * 8 * 8), np.uint8),
    }[values]
    assert "no evidence" in kaggle.read_pickle(pickled(tmp_path, array)).layout


@pytest.mark.parametrize("shape", [(5, 3, 32, 3), (5, 3, 3, 3)])
def test_a_shape_of_two_layouts_must_be_named(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = pickled(tmp_path, np.zeros(shape, np.uint8))
    with pytest.raises(SubmissionError, match=r"either.*hwc or chw"):
        kaggle.read_pickle(path)
    assert kaggle.read_pickle(path, "hwc").images.shape == (5, 3, 3, shape[2])
    assert kaggle.read_pickle(path, "chw").images.shape == (5, *shape[1:])


@pytest.mark.parametrize("layout", ["chw", "flat_chw", "flat_hwc"])
def test_a_named_layout_must_fit(tmp_path: Path, layout: Layout) -> None:
    with pytest.raises(SubmissionError, match=f"layout {layout}"):
        kaggle.read_pickle(pickled(tmp_path, HWC), layout)


# What is no test set.


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({b"images": HWC, b"ids": [1]}, r"one key `data`.*b'images', b'ids'"),
        ({}, r"\(none\)"),
        ({b"data": HWC, "data": HWC}, "one key `data`"),
        ({b"data": HWC, b"ids": [1], "ids": [1]}, "one key `ids`"),
        ([HWC], "a list in"),
        (None, "a NoneType in"),
        ({b"data": HWC.tolist()}, "numpy array; got a list"),
        ({b"data": HWC / np.float32(255)}, "uint8, 0 to 255; got float32"),
        ({b"data": HWC.astype(np.int64)}, "got int64"),
        ({b"data": HWC[:0]}, "at least one image"),
        ({b"data": np.zeros((2, 0, 0, 3), np.uint8)}, "at least one image"),
        ({b"data": np.zeros(3072, np.uint8)}, r"\(3072,\)"),
        ({b"data": np.zeros((2, 32, 32), np.uint8)}, r"\(2, 32, 32\)"),
        ({b"data": np.zeros((2, 32, 32, 4), np.uint8)}, r"\(2, 32, 32, 4\)"),
        ({b"data": np.zeros((2, 1024), np.uint8)}, r"\(2, 1024\)"),
        ({b"data": np.zeros((2, 3), np.uint8)}, r"\(2, 3\)"),
        ({b"data": np.zeros((1, 2, 3, 32, 32), np.uint8)}, r"\(1, 2, 3, 32, 32\)"),
    ],
)
def test_wrong_contents(tmp_path: Path, content: object, match: str) -> None:
    with pytest.raises(SubmissionError, match=match):
        kaggle.read_pickle(pickled(tmp_path, content))


@pytest.mark.parametrize(
    ("ids", "match"),
    [
        (list(range(19)), "19 ids for 20 images"),
        ([], "0 ids for 20 images"),
        ([7, *range(19)], "the id '7' 2 times"),
        ([1.0, *range(2, 21)], "got float, int"),
        ([True, *range(2, 21)], "got bool, int"),
        (["a", *range(19)], "got int, str"),
        (np.arange(20.0), "got float"),
        (np.arange(20).reshape(20, 1), r"got \(20, 1\) int64"),
        ({"a": 1}, "a dict"),
        (range(20).stop, "a int"),
        (["", *map(str, range(19))], "printable text; got ''"),
        (["a\nb", *map(str, range(19))], "printable text"),
        (["\ud800", *map(str, range(19))], "printable text"),
        ([b"\xff"] * 20, "UTF-8"),
    ],
)
def test_wrong_ids(tmp_path: Path, ids: object, match: str) -> None:
    with pytest.raises(SubmissionError, match=match):
        kaggle.read_pickle(pickled(tmp_path, {b"data": HWC, b"ids": ids}))


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (np.arange(20, dtype=np.int32)[::-1], tuple(range(19, -1, -1))),
        (tuple(np.arange(20)), tuple(range(20))),
        ([f"img_{i}" for i in range(20)], tuple(f"img_{i}" for i in range(20))),
        (np.array([f"{i}.png" for i in range(20)]), tuple(f"{i}.png" for i in range(20))),
        ([f"{i}".encode() for i in range(20)], tuple(map(str, range(20)))),
    ],
)
def test_ids_become_python_values(tmp_path: Path, ids: object, expected: tuple[Any, ...]) -> None:
    read = kaggle.read_pickle(pickled(tmp_path, {b"data": HWC, b"ids": ids}))
    assert read.ids == expected
    assert {type(value) for value in read.ids} == {type(expected[0])}


class Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_never_executed(tmp_path: Path) -> None:
    path = pickled(tmp_path, {b"data": HWC, b"ids": Attack(tmp_path / "executed")})
    with pytest.raises(SubmissionError, match=r"mkdir"):
        kaggle.read_pickle(path)
    assert not (tmp_path / "executed").exists()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="No such file"):
        kaggle.read_pickle(tmp_path / "none.pkl")
    with pytest.raises(SubmissionError, match="directory"):
        kaggle.read_pickle(tmp_path)
    whole = pickled(tmp_path, {b"data": HWC})
    whole.write_bytes(whole.read_bytes()[:-5000])
    with pytest.raises(SubmissionError, match="whole and well formed"):
        kaggle.read_pickle(whole)


# Statistics.


def test_shift_of_the_statistics() -> None:
    images = torch.from_numpy(CHW)
    report = normalisation_shift(images, (0.5, 0.5, 0.25), (0.25, 0.2, 0.125))
    values = images.double() / 255
    assert report.mean == pytest.approx(values.mean(dim=(0, 2, 3)).tolist())
    assert report.std == pytest.approx(values.std(dim=(0, 2, 3), correction=0).tolist())
    assert report.shift[2] == pytest.approx((report.mean[2] - 0.25) / 0.125)
    assert report.notable
    lines = report.lines()
    assert len(lines) == 5
    assert lines[3].startswith("blue")
    assert f"{report.shift[2]:+.2f}" in lines[3]
    assert "own mean and std" in lines[-1]


def test_no_shift_against_its_own_statistics() -> None:
    images = torch.from_numpy(CHW)
    own = normalisation_shift(images, (0.5,) * 3, (0.25,) * 3)
    report = normalisation_shift(images, own.mean, own.std)
    assert report.shift == pytest.approx((0, 0, 0))
    assert report.contrast == pytest.approx((1, 1, 1))
    assert not report.notable
    assert "much like" in report.lines()[-1]


def test_shift_needs_images_of_bytes() -> None:
    with pytest.raises(ValueError, match="uint8"):
        normalisation_shift(torch.zeros(2, 3, 4, 4), (0.5,) * 3, (0.25,) * 3)
    with pytest.raises(ValueError, match="positive"):
        normalisation_shift(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), (0.5,) * 3, (0.0,) * 3)


# The CSV.


@pytest.mark.parametrize("text", ["ID,Labels", "ID,Label", "Id,Label", "ID,Category", " ID , Category "])
def test_headers(text: str) -> None:
    assert submission.parse_header(text) == tuple(name.strip() for name in text.split(","))


@pytest.mark.parametrize("text", ["", "ID", "ID,", ",Label", "ID,Label,Usage", "ID,ID", "0,3", "a\x1b,b"])
def test_wrong_headers(text: str) -> None:
    with pytest.raises(SubmissionError, match="two different names"):
        submission.parse_header(text)


def test_submission(tmp_path: Path) -> None:
    path = tmp_path / "new" / "submission.csv"
    submission.write_submission(path, (0, 1, 2), torch.tensor([9, 0, 3]))
    assert path.read_bytes() == b"ID,Labels\n0,9\n1,0\n2,3\n"
    assert os.listdir(path.parent) == ["submission.csv"]
    submission.write_submission(path, ("a", "b,c"), torch.tensor([1, 2]), ("Id", "Category"))
    assert path.read_bytes() == b'Id,Category\na,1\n"b,c",2\n'


def test_submission_of_a_whole_test_set(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    labels = torch.randint(0, 10, (10_000,))
    submission.write_submission(path, tuple(range(10_000)), labels, ("ID", "Label"))
    lines = path.read_text().splitlines()
    assert lines[0] == "ID,Label"
    assert [tuple(map(int, line.split(","))) for line in lines[1:]] == list(enumerate(labels.tolist()))


@pytest.mark.parametrize(
    ("ids", "labels", "match"),
    [
        ((0, 1), torch.tensor([1]), r"labels \(1,\) for 2 ids"),
        ((0, 1), torch.tensor([1, 10]), "0 to 9; got 1 to 10"),
        ((0, 1), torch.tensor([-1, 2]), "got -1 to 2"),
        ((0, 1), torch.tensor([1.0, 2.0]), "float32"),
        ((0, 1), torch.tensor([True, False]), "bool"),
        ((0, 1), torch.zeros(2, 10, dtype=torch.int64), r"\(2, 10\)"),
        ((0, 0), torch.tensor([1, 2]), "once"),
        ((1, "1"), torch.tensor([1, 2]), "once"),
        ((), torch.zeros(0, dtype=torch.int64), "at least one"),
        (("a\n1,2", "b"), torch.tensor([1, 2]), "printable"),
    ],
)
def test_wrong_labels_and_ids(tmp_path: Path, ids: Any, labels: torch.Tensor, match: str) -> None:
    path = tmp_path / "submission.csv"
    path.write_text("kept")
    with pytest.raises(SubmissionError, match=match):
        submission.write_submission(path, ids, labels)
    assert path.read_text() == "kept"
    assert os.listdir(tmp_path) == ["submission.csv"]


@pytest.mark.parametrize("content", ["Id,Label\n2,0\n0,0\n1,0\n", "\ufeffId,Label\r\n2,0\r\n0,0\r\n1,0\r\n\r\n"])
def test_header_and_order_of_a_sample_submission(tmp_path: Path, content: str) -> None:
    sample, path = tmp_path / "sample.csv", tmp_path / "submission.csv"
    sample.write_bytes(content.encode())
    header, order = submission.header_from_sample(sample), submission.sample_ids(sample)
    assert (header, order) == (("Id", "Label"), ("2", "0", "1"))
    submission.write_submission(path, (0, 1, 2), torch.tensor([5, 6, 7]), header, order)
    assert path.read_bytes() == b"Id,Label\n2,7\n0,5\n1,6\n"


@pytest.mark.parametrize(
    ("expected", "match"),
    [
        (("0", "1", "2"), "2 ids against 3, for example '2' only in the sample"),
        (("0",), "2 ids against 1, for example '1' not in the sample"),
        (("00000", "00001"), "'00000' only in the sample"),
        ((), "not in the sample"),
        (("0", "0", "1"), "once"),
    ],
)
def test_ids_of_another_competition(tmp_path: Path, expected: tuple[str, ...], match: str) -> None:
    with pytest.raises(SubmissionError, match=match):
        submission.write_submission(tmp_path / "x.csv", (0, 1), torch.tensor([1, 2]), expected_ids=expected)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "two different names"),
        (b"0,3\n1,3\n", "two different names"),
        (b"ID,Label,Usage\n0,3,Public\n", "two different names"),
        (b"ID,Label\n0,3\n1\n", "1 columns in row 2"),
        (b"ID,Label\n0,3,4\n", "3 columns in row 1"),
        (b"ID,Label\n", "must have rows"),
        (b"ID,Label\n0,1\n0,2\n", "once"),
        (b"\x80\x04\xff\xfe", "UTF-8"),
        (b'ID,Label\n"0,1\n', "readable CSV"),
    ],
)
def test_wrong_sample_submissions(tmp_path: Path, content: bytes, match: str) -> None:
    sample = tmp_path / "sample.csv"
    sample.write_bytes(content)
    with pytest.raises(SubmissionError, match=match):
        submission.sample_ids(sample)


def test_missing_sample_submission(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="No such file"):
        submission.header_from_sample(tmp_path / "sample.csv")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "submission.csv"
    path.write_text("kept")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(SubmissionError, match="No space left"):
        submission.write_submission(path, (0, 1), torch.tensor([1, 2]))
    assert path.read_text() == "kept"
    assert os.listdir(tmp_path) == ["submission.csv"]


@pytest.mark.parametrize(
    "damage",
    [b"", b"ID,Labels\n0,1\n", b"ID,Labels\n0,1\n1,3\n", b"ID,Labels\n0,1\n1,\n", b"Id,Labels\n0,1\n1,2\n"],
)
def test_what_does_not_read_back_is_not_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes
) -> None:
    """A disk that loses data: after the sync the temporary file holds something else."""
    path = tmp_path / "submission.csv"
    path.write_text("kept")

    def lose(descriptor: int) -> None:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, damage, 0)

    monkeypatch.setattr(os, "fsync", lose)
    with pytest.raises(SubmissionError):
        submission.write_submission(path, (0, 1), torch.tensor([1, 2]))
    assert path.read_text() == "kept"
    assert os.listdir(tmp_path) == ["submission.csv"]


def test_a_folder_is_no_submission(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="must be written"):
        submission.write_submission(tmp_path, (0,), torch.tensor([1]))


def test_errors_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        kaggle.read_pickle(pickled(tmp_path, {f"key\n{i}": i for i in range(1000)}))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
