"""The CSV that is submitted to a Kaggle competition: written, read back, checked, and only then put in its place."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from cifar.errors import SubmissionError
from cifar.files import atomic_write, open_plain
from cifar.text import printable

DEFAULT_HEADER = ("ID", "Labels")
EXCERPT = 60
"""Characters that an error shows of an id or a name, at most."""


def parse_header(text: str) -> tuple[str, str]:
    """The two column names of a header such as `ID,Labels`."""
    return _checked_header([name.strip() for name in text.split(",")], text)


def header_from_sample(path: Path) -> tuple[str, str]:
    """The column names of a sample submission, exactly as they stand there."""
    return _read_csv(path)[0]


def sample_ids(path: Path) -> tuple[str, ...]:
    """The ids of a sample submission, as text, in its order."""
    ids = tuple(row[0] for row in _read_csv(path)[1])
    if not ids:
        raise SubmissionError(
            "a sample submission must have rows", got=f"{path} with a header only", remedy="Download it again"
        )
    check_ids(ids)
    return ids


def write_submission(
    path: Path,
    ids: Sequence[int | str],
    labels: Tensor,
    header: tuple[str, str] = DEFAULT_HEADER,
    expected_ids: Sequence[int | str] | None = None,
    *,
    num_classes: int = 10,
) -> None:
    """Writes a CSV of one row an id; the file is read back and checked before it takes the place of `path`.

    Args:
        path: the CSV; a file there is kept if anything fails.
        ids: in the order of the labels.
        labels: int64 (N,), 0 to num_classes - 1.
        header: the two column names.
        expected_ids: those of a sample submission: they must be the same, and the rows follow their order.
        num_classes: number of the model's classes.

    Raises:
        SubmissionError: ids, labels or header are not what they must be, or the file cannot be written.
    """
    header = _checked_header(list(header), ",".join(header))
    _check_labels(labels, len(ids), num_classes)
    check_ids(ids)
    rows = dict(zip(map(str, ids), labels.tolist(), strict=True))
    if expected_ids is not None:
        rows = _in_order(rows, expected_ids)
    try:
        _write_checked(path, header, rows)
    except OSError as error:
        raise SubmissionError(
            "the submission must be written",
            got=f"{path}: {error.strerror}",
            remedy="Choose a file that can be written, with space on its disk",
        ) from error


def _check_labels(labels: Tensor, count: int, num_classes: int) -> None:
    if labels.dtype != torch.int64 or labels.ndim != 1 or len(labels) != count or not count:
        raise SubmissionError(
            "there must be one integer label an id, and at least one",
            got=f"{labels.dtype} labels {tuple(labels.shape)} for {count} ids",
            remedy="Give the argmax of the logits, int64 (N,)",
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise SubmissionError(
            f"labels must be 0 to {num_classes - 1}",
            got=f"{low} to {high}",
            remedy=f"Check that the network has {num_classes} classes",
        )


def _in_order(rows: dict[str, int], expected_ids: Sequence[int | str]) -> dict[str, int]:
    """The rows in the order of the expected ids, which must be the same ids."""
    expected = [str(value) for value in expected_ids]
    check_ids(expected)
    missing = [value for value in expected if value not in rows]
    extra = sorted(rows.keys() - set(expected))
    if missing or extra:
        example = f"{excerpt(missing[0])} only in the sample" if missing else f"{excerpt(extra[0])} not in the sample"
        raise SubmissionError(
            "the ids must be those of the sample submission",
            got=f"{len(rows)} ids against {len(expected)}, for example {example}",
            remedy="Use the test pickle and the sample submission of the same competition",
        )
    return {value: rows[value] for value in expected}


def _write_checked(path: Path, header: tuple[str, str], rows: dict[str, int]) -> None:
    """Writes beside `path`, reads back, compares, and only then takes its place."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows.items())
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())
        file.flush()
        os.fsync(file.fileno())
        _check_written(Path(file.name), header, rows)


def _check_written(path: Path, header: tuple[str, str], rows: dict[str, int]) -> None:
    """The file must hold the header, the number of rows, the ids and the labels that were meant."""
    read_header, read_rows = _read_csv(path)
    labels = [int(label) for _, label in read_rows if label.isdecimal()]
    same_ids = [value for value, _ in read_rows] == list(rows)
    if read_header != header or not same_ids or labels != list(rows.values()):
        raise SubmissionError(
            "the submission must read back as it was written",
            got=f"{len(read_rows)} rows for {len(rows)} ids, {len(labels)} of them with a label",
            remedy="Check the disk and write it again",
        )


def _read_csv(path: Path) -> tuple[tuple[str, str], list[tuple[str, str]]]:
    """Header and rows of a submission file: two columns, everything as text."""
    try:
        with open_plain(path) as file:
            text = file.read().decode("utf-8-sig")
        lines = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SubmissionError(
            "a submission must be a readable CSV in UTF-8",
            got=f"{path}: {error.strerror if isinstance(error, OSError) else error}",
            remedy="Give the path of the competition's sample submission",
        ) from error
    header = _checked_header(lines[0] if lines else [], str(path))
    rows: list[tuple[str, str]] = []
    for number, row in enumerate(lines[1:], start=1):
        if len(row) != 2:
            raise SubmissionError(
                "a row of a submission must be an id and a label",
                got=f"{len(row)} columns in row {number} of {path}",
                remedy="Give the competition's sample submission",
            )
        rows.append((row[0], row[1]))
    return header, rows


def _checked_header(names: list[str], source: str) -> tuple[str, str]:
    good = all(name.strip() and name.isprintable() and not name.strip().isdecimal() for name in names)
    if len(names) != 2 or names[0] == names[-1] or not good:
        raise SubmissionError(
            "the header of a submission must be two different names",
            got=f"{excerpt(','.join(names))} from {excerpt(source)}",
            remedy="Write it like ID,Labels or ID,Category, or give a sample submission",
        )
    return names[0], names[1]


def check_ids(ids: Sequence[int | str]) -> None:
    """Ids must differ as written, and fit on a line."""
    for value, times in Counter(map(str, ids)).items():
        if times > 1:
            raise SubmissionError(
                "every id must occur once",
                got=f"the id {excerpt(value)} {times} times",
                remedy="Check the ids",
            )
        if not value.strip() or not value.isprintable():
            raise SubmissionError("an id must be printable text", got=excerpt(value), remedy="Check the ids")


def excerpt(value: object) -> str:
    """An id or a name, for errors; texts are in quotes."""
    return printable(repr(value), EXCERPT)
