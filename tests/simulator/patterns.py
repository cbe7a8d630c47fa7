"""What a result may look like, where it is not known to the letter: plain values, and these among them."""

from __future__ import annotations

from typing import Any


def fits(pattern: Any, told: Any) -> bool:
    """Whether what was told is what the pattern allows."""
    if isinstance(pattern, Pattern):
        return pattern.fits(told)
    if isinstance(pattern, list):
        if not isinstance(told, list) or len(told) != len(pattern):
            return False
        return all(fits(one, other) for one, other in zip(pattern, told, strict=True))
    return bool(pattern == told)


class Pattern:
    """Something that stands for more than one value."""

    def fits(self, told: Any) -> bool:
        raise NotImplementedError


class OneOf(Pattern):
    """One of several."""

    def __init__(self, *patterns: Any) -> None:
        self.patterns = patterns

    def fits(self, told: Any) -> bool:
        return any(fits(one, told) for one in self.patterns)

    def __repr__(self) -> str:
        return " or ".join(map(repr, self.patterns))


class Same(Pattern):
    """The same for everybody who is told, wherever that is: `told` gathers it."""

    def __init__(self, name: str, pattern: Any, told: dict[str, list[Any]]) -> None:
        self.name = name
        self.pattern = pattern
        self._told = told

    def fits(self, told: Any) -> bool:
        if not fits(self.pattern, told):
            return False
        self._told.setdefault(self.name, []).append(told)
        return True

    def __repr__(self) -> str:
        return f"{self.name}: {self.pattern!r}"


class Noted(Pattern):
    """As another pattern; who was told so is noted."""

    def __init__(self, who: str, pattern: Any, told: set[str]) -> None:
        self.pattern = pattern
        self._who = who
        self._told = told

    def fits(self, told: Any) -> bool:
        if not fits(self.pattern, told):
            return False
        self._told.add(self._who)
        return True

    def __repr__(self) -> str:
        return repr(self.pattern)


class AnyText(Pattern):
    """Some text."""

    def fits(self, told: Any) -> bool:
        return isinstance(told, str)

    def __repr__(self) -> str:
        return "a text"
