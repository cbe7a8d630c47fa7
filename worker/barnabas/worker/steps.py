"""Runs the actions of `ctx.run`: coroutines as tasks of the loop, plain functions in threads. Called by the driver."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from barnabas.runtime.engine import Engine
from barnabas.runtime.live import Step
from barnabas.runtime.shard import ShardEngine
from barnabas.sdk.errors import TerminalError
from barnabas.worker.failpoints import Failpoints

#: Tells an engine what became of a step: `raw` is the result, unless there was an error.
Report = Callable[[ShardEngine, Step, bytes | None, BaseException | None], None]


class NotSure(Exception):
    """The right to the shard was not confirmed lately: the action has not begun."""


class StepRunner:
    """The steps under way in this process.

    `is_sure` is asked right before each action, on the thread that runs it; a step that may not begin goes to
    `put_off`. Plain functions wait here until a thread is free, and `is_sure` is asked before they get one too: to
    hand thousands to threads takes longer than a confirmation lasts, and all would be put off, again and again.
    """

    def __init__(
        self,
        threads: int,
        report: Report,
        is_sure: Callable[[ShardEngine], bool],
        put_off: Callable[[ShardEngine, Step], None],
        failpoints: Failpoints,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="barnabas-step")
        self._threads = threads
        self._in_threads: set[Step] = set()
        self._waiting: deque[tuple[ShardEngine, Step]] = deque()  # for a thread
        self._report = report
        self._is_sure = is_sure
        self._put_off = put_off
        self._failpoints = failpoints
        self._fail = fail
        self._tasks: dict[asyncio.Task[None], ShardEngine] = {}

    def start(self, engine: ShardEngine, step: Step) -> None:
        """Run the action; its outcome goes to the engine that asked."""
        if inspect.iscoroutinefunction(step.action):
            self._create_task(engine, step)
        else:
            self._waiting.append((engine, step))
            self._use_threads()

    def _use_threads(self) -> None:
        while self._waiting and len(self._in_threads) < self._threads:
            engine, step = self._waiting.popleft()
            if engine.closed:
                continue
            if self._is_sure(engine):
                self._in_threads.add(step)
                self._create_task(engine, step)
            else:
                self._put_off(engine, step)

    def _create_task(self, engine: ShardEngine, step: Step) -> None:
        task = asyncio.get_running_loop().create_task(self._run(engine, step), context=step.context)
        self._tasks[task] = engine
        task.add_done_callback(functools.partial(self._forget, step))

    def _leave_thread(self, step: Step) -> None:
        self._in_threads.discard(step)
        self._use_threads()

    def abandon(self, engine: Engine) -> None:
        """The engine is gone: nobody wants these outcomes.

        What runs in a thread cannot be stopped and runs to its end.
        """
        self._waiting = deque(item for item in self._waiting if item[0] is not engine)
        for task, owner in list(self._tasks.items()):
            if owner is engine:
                task.cancel()

    def _forget(self, step: Step, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if task.cancelled():
            self._leave_thread(step)  # it may not even have begun
        elif (error := task.exception()) is not None:
            self._fail(error)

    async def _run(self, engine: ShardEngine, step: Step) -> None:
        raw: bytes | None = None
        error: BaseException | None = None
        try:
            self._failpoints.reach("step.ready")
            value = await self._value(engine, step)
            self._failpoints.reach("step.ended")
            try:
                raw = bytes(step.serde.serialize(value))
                engine.check_size(raw, f"the result of step '{step.name}'")
            except TerminalError:
                raise
            except Exception as unfit:
                raise TerminalError(f"the result of step '{step.name}' cannot be serialised: {unfit}") from unfit
        except asyncio.CancelledError as cancelled:
            if engine.closed:
                raise
            error = cancelled
        except NotSure:
            if not engine.closed:
                self._put_off(engine, step)
            return
        except KeyboardInterrupt:
            raise
        except BaseException as failed:  # whatever it is, also SystemExit: the handler waits for an answer
            error = failed
        if not engine.closed:
            self._report(engine, step, raw, error)

    async def _value(self, engine: ShardEngine, step: Step) -> object:
        if inspect.iscoroutinefunction(step.action):
            return await self._begin(engine, step)
        call = functools.partial(contextvars.copy_context().run, self._begin, engine, step)
        try:
            value = await asyncio.get_running_loop().run_in_executor(self._pool, call)
        finally:
            self._leave_thread(step)
        return await value if inspect.isawaitable(value) else value

    def _begin(self, engine: ShardEngine, step: Step) -> Any:
        if not self._is_sure(engine):
            raise NotSure
        try:
            return step.action(*step.args, **step.kwargs)
        except StopIteration as stop:  # no future can hold it, and it would be waited for without end
            raise RuntimeError("the action raised StopIteration") from stop

    async def aclose(self) -> None:
        """Cancel what still runs. Threads are left to end by themselves."""
        self._waiting.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)
