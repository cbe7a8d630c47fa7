"""`gather`, `select`, `as_completed` and `wait_completed`: durable futures together, by the names of Restate's SDK.

Which future came first is read from the journal, where results stand in the order in which they arrived, never from the
order of a set or of tasks (F50): a replay takes the same branch. What the functions return is itself a durable future,
so that they can be nested; it begins to look at its parts when it is first awaited.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Generator, Iterable
from types import coroutine
from typing import Any, TypeVar, cast

from barnabas.sdk.errors import TerminalError
from barnabas.sdk.futures import DurableFuture, DurablePromise
from barnabas.sdk.waits import Known, Wait

T = TypeVar("T")

#: What can be waited for together. A promise stands for its value.
Combinable = DurableFuture[Any] | DurablePromise[Any]

Parts = list[Any]  # of Wait and Known


def gather(*futures: Combinable) -> Combined[list[DurableFuture[Any]]]:
    """Wait until all of them are completed, and return them: await each for its value or error.

    A future that failed raises nothing here. Raises TerminalError for what no context method returned.
    """
    return _All("gather", futures)


def select(**kws: Combinable) -> Combined[list[Any]]:
    """Wait until one of them is completed, and return `[name, value]` of the one that came first.

    Raises that one's TerminalError if it failed, ValueError without any future.

        match await select(result=approval, timeout=ctx.sleep(timedelta(hours=1))):
            case ["result", value]: ...
            case ["timeout", _]: ...
    """
    return _First("select", tuple(kws.values()), tuple(kws))


def as_completed(*futures: Combinable) -> AsyncIterator[DurableFuture[Any]]:
    """Iterate over them in the order in which they are completed: `async for future in as_completed(a, b)`.

    Raises TerminalError, at the first step, for what no context method returned.
    """
    return _Arrivals(futures)


def wait_completed(
    *args: Combinable,
) -> Combined[tuple[list[DurableFuture[Any]], list[DurableFuture[Any]]]]:
    """Wait until at least one of them is completed: those that are, and those that are not, each in the order given.

    Raises TerminalError for what no context method returned.
    """
    return _Split("wait_completed", args)


class Combined(Wait, DurableFuture[T], Coroutine[Any, Any, T]):
    """One outcome of several futures. A coroutine too, as `asyncio.create_task` takes nothing else."""

    def __init__(self, name: str, futures: tuple[Any, ...]) -> None:
        self._name = name
        self._futures = futures
        self._parts: Parts | None = None  # None: nobody has waited for it yet
        self._left = 0  # parts that are not done
        self._generator: Generator[Any, Any, T] | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        self.begin()
        yield from self.until_done()
        return (yield from self._outcome())

    def is_completed(self) -> bool:
        self.begin()
        return self._done

    def begin(self) -> None:
        """Look at the parts, and hear of those that are still to come."""
        if self._parts is not None:
            return
        parts = _parts_of(self._name, self._futures)
        waits = [part for part in parts if isinstance(part, Wait)]
        if waits:
            self.attempt = waits[0].attempt
        self._parts = parts
        coming = [part for part in waits if not part.done()]
        self._left = len(coming)
        if self._enough():
            self._freeze()
            self._done = True
            self.order = self._came(part.order for part in parts if part.done())
            return
        for part in coming:
            part.watch(self)

    def part_done(self, part: Wait) -> None:
        """Called by a part."""
        if self._done:
            return
        self._left -= 1
        if self._enough():
            self._freeze()
            for other in self._parts or ():
                if not other.done():
                    other.unwatch(self)
            self.settle()

    def describe(self) -> str:
        return " and ".join(part.describe() for part in self._parts or () if not part.done())

    def _enough(self) -> bool:
        """Whether it is over, now that `_left` parts are not done."""
        raise NotImplementedError

    def _freeze(self) -> None:
        """Note what the outcome will tell, before more parts are done."""

    def _came(self, orders: Iterable[int]) -> int:
        """When it came to be done, by its parts that were done before it was looked at."""
        return min(orders, default=0)

    def _outcome(self) -> Generator[Any, Any, T]:
        raise NotImplementedError

    # As a coroutine.

    def send(self, value: Any) -> Any:
        if self._generator is None:
            self._generator = self.__await__()
        return self._generator.send(value)

    def throw(self, typ: Any, val: Any = None, tb: Any = None) -> Any:
        if self._generator is None:
            self._generator = self.__await__()
        return self._generator.throw(typ if val is None else val)

    def close(self) -> None:
        if self._generator is not None:
            self._generator.close()


class _All(Combined[list[DurableFuture[Any]]]):
    def _enough(self) -> bool:
        return self._left == 0

    def _came(self, orders: Iterable[int]) -> int:
        return max(orders, default=0)

    def _outcome(self) -> Generator[Any, Any, list[DurableFuture[Any]]]:
        return list(self._parts or ())
        yield


class _First(Combined[list[Any]]):
    def __init__(self, name: str, futures: tuple[Any, ...], names: tuple[str, ...]) -> None:
        super().__init__(name, futures)
        self._names = names
        self._winner = 0

    def begin(self) -> None:
        if not self._futures:
            raise ValueError("select needs at least one future, each with a name: select(answer=..., timeout=...)")
        super().begin()

    def _enough(self) -> bool:
        return self._left < len(self._parts or ())

    def _freeze(self) -> None:
        parts = self._parts or []
        self._winner = min((at for at, part in enumerate(parts) if part.done()), key=lambda at: int(parts[at].order))

    def _outcome(self) -> Generator[Any, Any, list[Any]]:
        value = yield from (self._parts or [])[self._winner].__await__()
        return [self._names[self._winner], value]


_Two = tuple[list[DurableFuture[Any]], list[DurableFuture[Any]]]


class _Split(Combined[_Two]):
    _two: _Two = ([], [])

    def _enough(self) -> bool:
        return not self._parts or self._left < len(self._parts)

    def _freeze(self) -> None:
        parts = self._parts or []
        self._two = ([part for part in parts if part.done()], [part for part in parts if not part.done()])

    def _outcome(self) -> Generator[Any, Any, _Two]:
        return self._two
        yield


class _Arrivals(Wait, AsyncIterator[DurableFuture[Any]]):
    """Futures in the order in which they are done. As a wait it is done while there is one to give."""

    def __init__(self, futures: tuple[Any, ...]) -> None:
        self._futures = futures
        self._arrived: Parts | None = None  # None: nobody has asked yet
        self._given = 0

    def done(self) -> bool:
        return self._given < len(self._arrived or ())

    async def __anext__(self) -> DurableFuture[Any]:
        if self._arrived is None:
            self._begin()
        if self._given == len(self._futures):
            raise StopAsyncIteration
        await _until_done(self)
        found = (self._arrived or [])[self._given]
        self._given += 1
        return cast(DurableFuture[Any], found)

    def _begin(self) -> None:
        parts = _parts_of("as_completed", self._futures)
        self._arrived = sorted((part for part in parts if part.done()), key=lambda part: int(part.order))
        for part in parts:
            if isinstance(part, Wait):
                self.attempt = part.attempt
                if not part.done():
                    part.watch(self)

    def part_done(self, part: Wait) -> None:
        """Called by a part."""
        if self._arrived is not None:
            self._arrived.append(part)
            self.wake()

    def describe(self) -> str:
        return f"the next of {len(self._futures)} futures"


@coroutine
def _until_done(wait: Wait) -> Generator[Any, Any, None]:
    yield from wait.until_done()


def _parts_of(name: str, futures: tuple[Any, ...]) -> Parts:
    """The futures, checked, and the values of promises. Raises TerminalError for anything else."""
    parts: Parts = [one.value() if isinstance(one, DurablePromise) else one for one in futures]
    attempt: Any = None
    for part in parts:
        if isinstance(part, Combined):
            part.begin()
        elif isinstance(part, Known):
            continue
        if not isinstance(part, Wait) or isinstance(part, _Arrivals):
            raise TerminalError(
                f"{name} takes the durable futures that a context's methods return, not a {type(part).__qualname__}"
            )
        owner = getattr(part, "attempt", None)  # one that is made of nothing has none
        if attempt is not None and owner is not None and owner is not attempt:
            raise TerminalError(f"{name} takes futures of one context only: these are of two invocations or attempts")
        attempt = owner or attempt
    return parts
