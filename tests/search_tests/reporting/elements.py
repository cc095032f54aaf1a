"""What a page consists of, and texts that must stay texts in it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

HOSTILE = (
    "</script><script>document.title='pwned'</script>",
    '<a href="https://elsewhere.example/">link</a>',
    '"><img src=x onerror="document.title=\'pwned\'">',
    "<!--<script>",
)


class Elements(HTMLParser):
    """Every start tag, and the text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data

    def ids(self) -> set[str]:
        return {str(attributes["id"]) for _, attributes in self.tags if "id" in attributes}

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def figures(elements: Elements) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(elements.scripts[0])
    return result
