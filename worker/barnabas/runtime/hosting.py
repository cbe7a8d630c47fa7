"""What the attempts of a shard ask of it (`attempt.Host`): the part of the engine that commands of handlers reach.

Each is called once, when a command is new; nothing of it happens again on a replay. `ShardEngine` (shard.py) inherits
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from barnabas.contract.ids import InvocationId
from barnabas.contract.records import Failure, Signal, SignalKind
from barnabas.runtime import journal as j
from barnabas.runtime import live as states_of
from barnabas.runtime.directory import UnknownTarget
from barnabas.runtime.live import Live, Step
from barnabas.runtime.promises import Promise, Waiting
from barnabas.runtime.sender import caller_of
from barnabas.runtime.state import KeyState
from barnabas.sdk.errors import TerminalError

if TYPE_CHECKING:
    from barnabas.runtime.directory import Directory
    from barnabas.runtime.limits import Limits
    from barnabas.runtime.sender import Sender
    from barnabas.runtime.state import States
    from barnabas.runtime.stepping import Stepping
    from barnabas.runtime.timers import Timers


class Hosting:
    """The attempts' side of the engine of a shard."""

    directory: Directory
    limits: Limits
    sender: Sender
    states: States
    stepping: Stepping
    timers: Timers
    live: dict[bytes, Live]
    next_commit: int
    now: int

    def change(self, live: Live) -> None:
        """It goes into the next commit."""
        raise NotImplementedError

    def ready(self, live: Live) -> None:
        """Let it go on with the next `run_ready`."""
        raise NotImplementedError

    # -- journal and steps

    def start_step(self, step: Step) -> None:
        self.stepping.start(step)

    def journaling(self, live: Live, quiet: bool) -> None:
        if len(live.journal) >= self.limits.journal_entries:
            raise TerminalError(
                f"the journal of {live.service}/{live.handler} has {self.limits.journal_entries} entries, its limit",
                413,
            )
        if not quiet:
            self.change(live)

    def arm_sleep(self, live: Live, position: int, due: int) -> None:
        self.timers.arm_sleep(live.id, position, due)

    # -- messages and signals

    def check_target(self, service: str, handler: str, keyed: bool, payload: bytes) -> str:
        kind = self.directory.check(service, handler, keyed)
        self.check_size(payload, f"the argument for {service}/{handler}")
        return kind

    def check_known(self, id_: bytes) -> None:
        self._service_of(id_)

    def check_size(self, value: bytes, what: str) -> None:
        if len(value) > self.limits.value_bytes:
            raise TerminalError(f"{what} has {len(value)} bytes, more than {self.limits.value_bytes}", 413)

    def message(
        self,
        live: Live,
        issued: j.Entry,
        position: int,
        payload: bytes,
        headers: dict[str, str] | None,
        due: int | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        self.sender.message(live, issued, position, payload, headers, due, idempotency_key)

    def attach(self, live: Live, position: int, id_: bytes) -> None:
        self._signal(Signal(SignalKind.ATTACH, id_, caller=caller_of(live, position)))

    def cancel(self, live: Live, id_: bytes) -> None:
        self._signal(Signal(SignalKind.CANCEL, id_))

    def resolve(
        self,
        live: Live,
        id_: bytes,
        position: int | None,
        name: str | None,
        result: bytes | None,
        failure: Failure | None,
    ) -> None:
        self._signal(Signal(SignalKind.RESOLVE, id_, position, None, result, failure, name=name))

    def _signal(self, signal: Signal) -> None:
        self.sender.signal_about(signal, self._service_of(signal.invocation))

    def _service_of(self, id_: bytes) -> str:
        service = self.directory.service_of(id_)
        if service is None:
            raise UnknownTarget(f"{InvocationId(id_)} belongs to no service that is registered here")
        return service

    # -- state and promises

    def state_of(self, key: str) -> dict[str, bytes]:
        return self._state(key).values

    def set_state(self, live: Live, name: str, value: bytes | None) -> None:
        self._written(live).set(name, value)

    def clear_state(self, live: Live) -> None:
        self._written(live).clear()

    def promise(self, live: Live, position: int, name: str) -> None:
        promise = self._promise(live, name)
        outcome = promise.outcome()
        if outcome is not None:
            live.journal.append([_kind(outcome), position, j.OF_PROMISE, *outcome, self.now])
            return
        promise.waiting = [one for one in promise.waiting if one.invocation in self.live]
        promise.waiting.append(Waiting(live.id, position))
        self._written(live).promises.changed(name)

    def peek(self, live: Live, name: str) -> list[Any] | None:
        return self._promise(live, name).outcome()

    def complete_promise(self, live: Live, name: str, result: bytes | None, failure: Failure | None) -> bool:
        promise = self._promise(live, name)
        if promise.completed:
            return False
        promise.result, promise.failure = result, failure
        waiting, promise.waiting = promise.waiting, []
        self._written(live).promises.changed(name)
        outcome = promise.outcome()
        assert outcome is not None
        for one in waiting:
            waiter = self.live.get(one.invocation)
            if waiter is not None:
                waiter.journal.append([_kind(outcome), one.position, j.OF_PROMISE, *outcome, self.now])
                self.change(waiter)
                if waiter.attempt is not None or self.wake_up(waiter):
                    self.ready(waiter)  # it goes on after this handler, not inside it
        return True

    def wake_up(self, live: Live) -> bool:
        """What was suspended runs again. False: it waits for something else than a notification."""
        if live.status != states_of.SUSPENDED:
            return False
        live.status = states_of.RUNNING
        live.header_changed = True
        return True

    def _promise(self, live: Live, name: str) -> Promise:
        assert live.key is not None
        return self._state(live.key).promises.get(name)

    def _written(self, live: Live) -> KeyState:
        assert live.key is not None
        state = self._state(live.key)
        state.dirty = self.next_commit
        self.states.changed[live.key] = state
        return state

    def _state(self, key: str) -> KeyState:
        state = self.states.get(key)
        assert state is not None, "a handler runs only once its key's state is in memory"
        return state


def _kind(outcome: list[Any]) -> int:
    return j.RESULT if len(outcome) == 1 else j.FAILURE
