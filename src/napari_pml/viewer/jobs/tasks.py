"""One-off tasks beside the main job: measuring and saving never block painting."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from napari.qt.threading import create_worker

from napari_pml.viewer.jobs.background import report

Result = TypeVar("Result")


def run_task(
    title: str, work: Callable[[], Result], done: Callable[[Result], None], ended: Callable[[], None] = lambda: None
) -> None:
    """Run `work` in a thread of its own, with a bar in napari's activity dock.

    Args:
        title: to show beside the bar.
        work: knows no layers and no windows; its errors become notifications.
        done: called in the main thread with what `work` returned.
        ended: called in the main thread in the end, whether `work` failed or not.
    """
    create_worker(
        work,
        _progress={"total": 0, "desc": title},
        _connect={"returned": done, "errored": report, "finished": ended},
        _ignore_errors=True,  # or they are reported twice
    )
