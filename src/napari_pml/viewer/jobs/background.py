"""The one background job of the viewer: a generator that runs in a worker thread and shows what it yields.

napari's own generator workers are not used: they take a RuntimeError (a GPU out of memory) for a sign that
the worker was deleted, and then never say that they are finished. One lasting thread also keeps torch from
building its pool of threads anew for every stroke.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any

from napari.utils.notifications import notification_manager, show_error
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QApplication

from napari_pml.errors import PmlError, ProjectClosedError

Job = Callable[[], Iterator[Any]]

_PAUSE_MS = 10  # one movement of the mouse makes several events
_NICENESS = 5  # more than the main thread, so that the window comes first; not so much that other programs stop us
_QUIET_MS = 1000  # after this long without an action, the user is looking


@dataclass(eq=False)
class _Task:
    job: Job
    receive: Callable[[Any], None]
    ended: Callable[[], None]
    stopped: bool = False


class _Failure:
    def __init__(self, error: Exception) -> None:
        self.error = error


_END = object()


class Background(QObject):
    """Runs one job at a time; a new one replaces the one before."""

    _arrived = Signal(object, object)  # task, value: from the worker thread to the main thread

    def __init__(self) -> None:
        super().__init__()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="napari-pml", initializer=_give_way)
        self._task: _Task | None = None
        self._future: Future[None] | None = None
        self._later: Callable[[], object] | None = None
        self._when_quiet: Callable[[], None] | None = None
        self._timer = QTimer(self, singleShot=True, interval=_PAUSE_MS)
        self._timer.timeout.connect(self._now)
        self._quiet = QTimer(self, singleShot=True, interval=_QUIET_MS)
        self._quiet.timeout.connect(self._on_quiet)
        self._arrived.connect(self._on_arrived)
        QApplication.instance().aboutToQuit.connect(self.drain)

    def start(self, job: Job, receive: Callable[[Any], None], ended: Callable[[], None]) -> None:
        """Run `job` in the worker thread, once the job before it has stopped at its next yield.

        Args:
            job: generator function.
            receive: called in the main thread with every value the job yields.
            ended: called in the main thread when the job ended, failed or was cancelled, not when replaced.
        """
        # Jobs import it, and whoever asks sys.modules for it meanwhile, as scipy does, must not find half of it.
        import torch  # noqa: F401

        self.quit()
        self._task = _Task(job, receive, ended)
        self._future = self._pool.submit(self._run, self._task)

    def quit(self) -> None:
        """Ask the job to stop at its next yield; what it has yielded stays."""
        if self._task is not None:
            self._task.stopped = True

    def drain(self) -> None:
        """Stop the job and wait until it has ended; nothing arrives from it afterwards."""
        self.quit()
        self._task = self._later = self._when_quiet = None
        if self._future is not None:
            wait([self._future])

    def soon(self, callback: Callable[[], object]) -> None:
        """Call `callback` once there was no further call of `soon` for a moment."""
        self._later = callback
        self._timer.start()

    def when_quiet(self, callback: Callable[[], None]) -> None:
        """Call `callback` a second from now, if no job is running then."""
        self._when_quiet = callback
        self._quiet.start()

    def _on_quiet(self) -> None:
        if self._when_quiet is not None and self._task is None:
            self._when_quiet()

    def _now(self) -> None:
        if self._later is not None:
            self._later()

    def _run(self, task: _Task) -> None:
        """In the worker thread."""
        try:
            if not task.stopped:
                values = task.job()
                with closing(values) if isinstance(values, Generator) else nullcontext():
                    for value in values:
                        self._arrived.emit(task, value)
                        if task.stopped:
                            break
        except Exception as error:
            let_go = task.stopped and isinstance(error, ProjectClosedError)  # by the person, who wants other work back
            if not let_go:
                self._arrived.emit(task, _Failure(error))
        finally:
            self._arrived.emit(task, _END)

    def _on_arrived(self, task: _Task, value: Any) -> None:
        """In the main thread."""
        if self._task is None:  # drained
            return
        if isinstance(value, _Failure):
            report(value.error)
        elif value is not _END:
            task.receive(value)
        elif task is self._task:
            self._task = None
            task.ended()


def _give_way() -> None:
    """Give this thread, and those that torch starts in it, a lower priority than the main thread; on Linux only."""
    if sys.platform == "linux":  # elsewhere this would be about the whole process
        this = os.PRIO_PROCESS, threading.get_native_id()
        os.setpriority(*this, min(19, os.getpriority(*this) + _NICENESS))


def report(error: Exception) -> None:
    """Show an error: a `PmlError` as its message, any other with its traceback."""
    if isinstance(error, PmlError):
        show_error(str(error))
    else:
        notification_manager.receive_error(type(error), error, error.__traceback__)
