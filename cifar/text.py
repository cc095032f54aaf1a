"""Text that others wrote, made safe to print."""

from __future__ import annotations


def printable(text: object, limit: int | None = None) -> str:
    r"""`str(text)` on one line, without what a terminal would obey or refuse.

    Control characters, line ends, marks that reverse the writing direction and undecodable bytes become escapes
    such as `\x1b`; letters of any language stay.

    Args:
        text: such as a file's name, or an id in a file.
        limit: characters of the result at most; None keeps all.
    """
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)[:limit])
    return "".join(escaped)[:limit]
