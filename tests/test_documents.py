"""Documents name what exists: files, folders, modules and what is in them, links and their headings."""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
"""Markdown files that people write; the cards in studies/ are written by commands."""
OF_THE_PROJECT = re.compile(r"(\.?\w[\w.-]*/)+(\w[\w.-]*)?|\w[\w-]*\.(py|c|toml|yml)")
"""What a path looks like: with a slash, or with the ending of a file that only the project has."""
NOT_OURS = {"my_space.py", "study.toml"}
"""Names that stand for a reader's own files, or those of a study."""
MODULES = re.compile(r"(?<![\w/.-])(?:cifar|spaces|search|benchmarks)(?:\.[A-Za-z_]\w*)+")

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def paths_in(text: str) -> list[str]:
    """Words in backticks that are paths."""
    spans = re.findall(r"`([^`\n]+)`", text)
    return [span for span in spans if OF_THE_PROJECT.fullmatch(span) and span not in NOT_OURS]


def names_in(text: str) -> list[str]:
    """Dotted names that begin with a package of the project."""
    return [name for name in MODULES.findall(text) if not name.endswith((".py", ".md", ".toml", ".c"))]


def headings_in(text: str) -> set[str]:
    """Anchors of a document's headings, as code hosts make them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def resolve(name: str) -> object:
    """The module, class or function of a dotted name."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def links_in(text: str) -> list[str]:
    """What Markdown and HTML link to or show."""
    return [first or second for first, second in re.findall(r"\]\(([^)]+)\)|(?:src|href)=\"([^\"]+)\"", text)]


@every_document
def test_every_path_exists(document: Path) -> None:
    paths = paths_in(document.read_text())
    assert [path for path in paths if not ((ROOT / path).exists() or (document.parent / path).exists())] == []


@every_document
def test_every_dotted_name_exists(document: Path) -> None:
    for name in names_in(document.read_text()):
        assert resolve(name) is not None, name


@every_document
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in links_in(document.read_text()):
        if target.startswith("https://"):
            continue
        file, _, heading = target.partition("#")
        path = document.parent / file if file else document
        assert path.exists(), target
        assert not heading or heading in headings_in(path.read_text()), target


def test_the_index_names_every_document() -> None:
    docs = ROOT / "docs"
    named = {(docs / target).resolve() for target in links_in((docs / "README.md").read_text())}
    written = {*docs.glob("*.md"), *docs.glob("*.ipynb"), *docs.glob("*/README.md")} - {docs / "README.md"}
    assert sorted(path.name for path in written - named) == []


def scripts_in(text: str) -> list[str]:
    """Shell scripts, marked as such."""
    return re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_scripts_are_sound() -> None:
    scripts = [script for document in DOCUMENTS for script in scripts_in(document.read_text())]
    assert any("#SBATCH --array=" in script for script in scripts)
    for script in scripts:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True, capture_output=True)
        directives = [line for line in script.splitlines() if line.startswith("#SBATCH")]
        assert all(re.fullmatch(r"#SBATCH --[a-z-]+=\S+", line) for line in directives)
        before, _, _ = script.partition("\nset ")
        assert all(line in before for line in directives)  # Slurm reads none after the first command


def test_what_does_not_exist_is_found() -> None:
    text = "See `search/plan.py`, `resnet.py`, `report.html`, `a/b c` and `search.plan.Plan` by `python -m search.run`."
    assert paths_in(text) == ["search/plan.py", "resnet.py"]
    assert names_in(text) == ["search.plan.Plan", "search.run"]
    with pytest.raises((ModuleNotFoundError, AttributeError)):
        resolve("search.plan.Plan")


def test_the_map_names_every_room() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    rooms = [path.parent for package in ("cifar", "search") for path in (ROOT / package).glob("*/__init__.py")]
    assert rooms
    assert [room.name for room in rooms if f"{room.name}/" not in contributing] == []
