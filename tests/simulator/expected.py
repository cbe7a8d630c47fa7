"""What the requests of a world must come to, and what they must leave behind. Used by `checks.py`.

A program is *whole* if nobody may cut it short (cancel or kill it, or one of those who call it), and *sure* if it is
whole and certain to be asked for. What is sure is known to the letter, but for what comes from several sides at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.simulator.patterns import AnyText, Noted, OneOf, Same
from tests.simulator.programs import KNOT, OBJECT, Root, after_a_race

CUT = ["failed", 409]
UNKNOWN = ["failed", 404]
REJECTED = ["failed", 418]


class Logged(NamedTuple):
    """A program that writes into its key's log."""

    key: str
    sure: bool
    ends: bool  # if it begins, it comes to its end


@dataclass(slots=True)
class Expected:
    """What a set of requests must leave behind.

    `cut`: tokens of shared programs that somebody may cut short. `fell_back`: the store has lost its latest commits.
    `leads_back`: calls of knots may wait for themselves, and then fail.
    """

    cut: set[str]
    fell_back: bool
    leads_back: bool = False
    logged: dict[str, Logged] = field(default_factory=dict)
    thrown: dict[str, bool] = field(default_factory=dict)  # places of dice, and whether they are sure to be thrown
    effects: set[str] = field(default_factory=set)
    order: list[tuple[str, str, str]] = field(default_factory=list)  # of one sender: key, earlier, later
    shared: set[str] = field(default_factory=set)  # tokens of programs that many ask for
    never: set[str] = field(default_factory=set)  # tokens of programs that do not come past their nap
    again: set[str] = field(default_factory=set)  # that may run once more after a store fell back
    told: dict[str, list[Any]] = field(default_factory=dict)  # what must be the same for all
    submitters: set[str] = field(default_factory=set)  # of the workflow, who got its result
    tellers: set[str] = field(default_factory=set)  # who completed its promise

    def of(self, root: Root) -> Any:
        """The pattern of a request's result."""
        if root.handler == "look":
            return None
        self.again |= after_a_race(root.program)
        if root.shared is not None:
            self.shared.add(root.token)
            pattern = self._shared(root.service, root.key, root.program, True)
            if root.handler == "run":
                return self._submitted(root.name, pattern)
            return OneOf(pattern, UNKNOWN) if root.token in self.cut else pattern
        outcome = self._program(root.service, root.key, root.program, True, not root.fate)
        if not self._is_firm(root.firm, root.delay):
            return outcome
        self.never.add(root.token)
        return CUT

    def attached(self, root: Root) -> Any:
        """The pattern of what is told to one who attaches to a request that many make."""
        pattern = self._shared(root.service, root.key, root.program, True)
        return OneOf(pattern, UNKNOWN) if root.token in self.cut else pattern

    def fed(self, service: str, key: str, program: Any) -> None:
        """Take note of what a record of a topic of others asks for."""
        self._program(service, key, program, True, True)

    def _is_firm(self, firm: bool, delay: int | None) -> bool:
        """Whether it is cut short for sure. One that was released in the time that a scheduler's shard has lost may run
        beside the one that waits there again."""
        return firm and not (self.fell_back and delay is not None)

    def ends(self, token: str) -> bool:
        """Whether a program comes to its end, once it has begun."""
        return token not in self.logged or self.logged[token].ends

    def _program(self, service: str, key: str | None, program: Any, certain: bool, whole: bool) -> Any:
        token, ops = program
        out: list[Any] = []
        failed = None
        sent: dict[str, str] = {}
        sure = certain and whole
        for index, op in enumerate(ops):
            if op[0] == "fail":
                failed = op[1]
                break
            if sure and op[0] == "send" and op[1][0] == OBJECT:
                at, later = op[1][2], op[1][3][0]
                if at in sent:
                    self.order.append((at, sent[at], later))
                sent[at] = later
            result = self._op(op, f"{token}#{index}", sure, whole)
            out.append(result if whole else OneOf(result, CUT))
        if key is not None and not (token in self.logged and self.logged[token].sure):
            self.logged[token] = Logged(key, sure, whole and failed is None)
        outcome = [token, out] if failed is None else ["failed", failed]
        return outcome if whole else OneOf(CUT, outcome)

    def _to(self, target: Any, certain: bool, whole: bool) -> Any:
        service, _, key, program = target
        return self._program(service, key if service in (OBJECT, KNOT) else None, program, certain, whole)

    def _called(self, target: Any, sure: bool, whole: bool) -> Any:
        """What a call comes to. One that would wait for itself never begins, or is cancelled by somebody."""
        if not self.leads_back or (target[0] != KNOT and not self.fell_back):
            return self._to(target, sure, whole)
        return OneOf(self._to(target, False, whole and not self.fell_back), CUT)

    def _op(self, op: Any, me: str, sure: bool, whole: bool) -> Any:
        match op:
            case ["call", target]:
                return self._called(target, sure, whole)
            case ["two" | "gather" | "each", first, second]:
                return [self._called(first, sure, whole), self._called(second, sure, whole)]
            case ["send" | "later", target, *_]:
                self._to(target, sure, True)
                return None
            case ["big", _]:
                return ["failed", 500]
            case ["step" | "dice" | "show", *_]:
                return self._step(op, me, sure)
        return self._talk(op, me, sure, whole)

    def _step(self, op: Any, me: str, sure: bool) -> Any:
        if sure:
            self.effects.add(me)
        if op[0] == "dice":
            self.thrown[me] = sure
            return "thrown"
        return "shown" if op[0] == "show" else me

    def _talk(self, op: Any, me: str, sure: bool, whole: bool) -> Any:
        match op:
            case ["idem" | "submit", how, [service, handler, key, program], *_]:
                pattern = self._shared(service, key, program, sure)
                if how == "send":
                    return None
                if how == "call":
                    return self._submitted(me, pattern) if op[0] == "submit" else pattern
                return OneOf(pattern, UNKNOWN) if program[0] in self.cut or handler == "brief" else pattern
            case ["tell" | "ask" | "saga", target, *undo]:
                for one in undo:
                    self._to(one, False, False)
                return self._to(target, sure, whole)
            case ["awake" | "signal", how, target]:
                below = self._to(target, sure, whole if how == "call" else True)
                return [below if how == "call" else None, _resolved(target[3])]
            case ["attach" | "notice", target, _]:
                return self._to(target, sure, True)
            case ["heed" | "reveal" | "promise" | "fulfil" | "resolve" | "raise", *_]:
                return self._value(op[0], me)
            case ["cancel", target, delay, _, firm]:
                return self._cut_short(op, target, sure, self._is_firm(firm, delay))
            case ["race" | "recall", target, _, firm]:
                return self._cut_short(op, target, sure, firm)
        return None

    def _value(self, name: str, me: str) -> Any:
        match name:
            case "heed" | "reveal":
                return AnyText()
            case "promise":
                return Same("the promise", AnyText(), self.told)
            case "fulfil":
                return OneOf(Noted(me, "told", self.tellers), "late")
        return None

    def _cut_short(self, op: Any, target: Any, sure: bool, firm: bool) -> Any:
        if sure and firm:
            self.never.add(target[3][0])
        outcome = self._to(target, sure, False)
        if op[0] == "race":
            lost = OneOf("late", CUT) if self.fell_back else "late"  # by the cancellation that the store has lost
            return lost if firm else OneOf("late", outcome)
        return CUT if firm else outcome

    def _shared(self, service: str, key: str | None, program: Any, certain: bool) -> Any:
        token = program[0]
        self.shared.add(token)
        pattern = self._program(service, key, program, certain, token not in self.cut)
        return Same(token, pattern, self.told)

    def _submitted(self, name: str, pattern: Any) -> Any:
        return OneOf(Noted(name, pattern, self.submitters), CUT)


def _resolved(program: Any) -> Any:
    """The first of what is sent to an awakeable or a signal, in order."""
    token, ops = program
    for index, op in enumerate(ops):
        if op[0] in ("resolve", "raise"):
            return f"{token}#{index}/0" if op[2][0] == "ok" else REJECTED
    raise AssertionError(f"{token} resolves nothing")
