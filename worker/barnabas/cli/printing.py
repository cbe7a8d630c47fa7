"""How commands print for people: tables and trees that are folded at a terminal's width and whole in a pipe or a file.

What comes from outside (keys, names, messages of handlers) goes through `shown` or `one_line`: neither rich's markup
nor a terminal's control sequences in it have an effect.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_WIDE: Final = 1_000
#: Controls, marks that turn the direction of writing, halves of surrogate pairs, separators of lines.
_ACTING: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def console() -> Console:
    """Where tables and trees are printed to."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=max(found.width, _WIDE))


def table(*columns: str) -> Table:
    """A table whose cells are folded where the terminal is narrow, never cut."""
    found = Table()
    for column in columns:
        found.add_column(column, overflow="fold")
    return found


def fields(style: str = "bold") -> Table:
    """A table of names and values, without lines."""
    found = Table(show_header=False, box=None)
    found.add_column(style=style)
    found.add_column(overflow="fold")
    return found


def plain_text(text: str) -> str:
    """Text in which nothing acts on a terminal; lines stay lines."""
    if text.isprintable():
        return text
    return "".join(letter if letter in "\n\t" or not _acts(letter) else _written(letter) for letter in text)


def shown(text: str) -> str:
    """Text as it may stand among rich's markup."""
    return escape(plain_text(text))


def one_line(text: str) -> str:
    """As `shown`, for what must not pretend to be several lines: keys and names."""
    return shown(text).replace("\n", "\\n").replace("\t", "\\t")


def _acts(letter: str) -> bool:
    return unicodedata.category(letter) in _ACTING


def _written(letter: str) -> str:
    return letter.encode("unicode_escape").decode()
