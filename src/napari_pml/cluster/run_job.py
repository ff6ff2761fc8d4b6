"""One job done: what `napari-pml segment` does to one video, unless it is done already."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from napari_pml.cluster.jobs import Job
from napari_pml.cluster.record import JobRecord, origin
from napari_pml.cluster.report import Outcome, State
from napari_pml.embedding.protocol import Embedder
from napari_pml.engine.segment_video import segment_video
from napari_pml.engine.session import Session
from napari_pml.errors import ExportError, PmlError
from napari_pml.types import FrameMask
from napari_pml.video.video import open_video


def run_job(job: Job, embedder: Embedder) -> Generator[FrameMask, None, Outcome]:
    """Do a job.

    Stop it at any time: the files that are there are complete, and the next call begins the job again.

    Args:
        job: to do.
        embedder: the network to do it with.

    Yields:
        Every mask that was computed.

    Returns:
        How it ended; an error is one way to end.
    """
    try:
        with _alone_in(job.out):
            return (yield from _segment(job, embedder))
    except PmlError as error:
        return Outcome(job, State.failed, error=str(error))
    except Exception as error:  # a mistake of ours in one video must not cost the others
        logging.getLogger(__name__).error("%s failed", job.video, exc_info=error)
        return Outcome(job, State.failed, error=f"{type(error).__name__}: {error}")


def _segment(job: Job, embedder: Embedder) -> Generator[FrameMask, None, Outcome]:
    """Do a job whose folder is nobody else's."""
    began = time.perf_counter()
    wanted, earlier = origin(job, embedder), JobRecord.load(job.out)
    if earlier is not None and earlier.origin == wanted and earlier.is_whole(job.out):
        return Outcome(job, State.skipped, earlier.frames, earlier.seconds)
    session = Session(open_video(job.video, strict=job.strict), job.config, embedder=embedder)
    job.files.annotate(session)
    if earlier is not None:
        earlier.discard(job.out)
    yield from segment_video(session, job.out)
    seconds = time.perf_counter() - began
    JobRecord(wanted, len(session.video), seconds, str(session.device)).save(job.out)
    return Outcome(job, State.done, len(session.video), seconds)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process works in a folder: a job may still be going on where nobody hears of it any more.

    The system frees the lock of a process that died.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            logging.getLogger(__name__).warning("Another process works in %s; waiting until it has ended.", folder)
            lock.acquire()
    except OSError as error:
        raise ExportError(f"{folder} cannot be written: {error}. Choose another place.") from error
    try:
        yield
    finally:
        lock.release()
