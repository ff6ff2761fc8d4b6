"""Work that is killed again and again: annotates and propagates in a project until somebody kills it.

Run as `python killed_work.py PROJECT LOG KILLS`. Every step that is reported as done is a line of the log.
"""

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np

from drawn_video import ColourEmbedder, draw_video
from napari_pml import Session, open_video
from napari_pml.store.project import Project

FRAMES, MASKS = draw_video(n_frames=6, height=48, width=64)


def annotate(session: Session, step: int) -> None:
    """Do step number `step`, which depends on its number alone and always changes something."""
    rng = np.random.default_rng(step)
    t = step % 6
    if step % 5 == 0:
        session.annotate(t, MASKS[t] + np.uint16(step), complete=True)
        return
    labels = np.zeros((48, 64), np.uint16)
    y, x = rng.integers(0, 40), rng.integers(0, 50)
    labels[y : y + 4, x : x + 9] = 1 + step % 7
    labels[0, 0] = 1 + step  # differs from all others
    session.annotate(t, labels)


def begin(path: Path) -> Session:
    video = open_video(FRAMES)
    return Session(video, embedder=ColourEmbedder(), project=Project.open(path) if path.exists() else None)


def work(path: Path, log: int) -> None:
    """Go on with the steps that the project has not seen yet; each is one revision."""
    session = begin(path)
    rng = random.Random(session.annotations.revision)
    os.write(log, b"ready\n")
    while True:
        annotate(session, session.annotations.revision)
        os.write(log, f"annotated {session.annotations.revision}\n".encode())
        for _, mask in zip(range(rng.randrange(12)), session.propagate(rng.randrange(6)), strict=False):
            if mask.revision:
                os.write(log, f"segmented {mask.t} {mask.revision}\n".encode())


def main() -> None:
    path, log_path, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for _ in range(kills):
        known = log_path.stat().st_size
        child = os.fork()
        if child == 0:
            try:
                work(path, log)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        while b"ready" not in log_path.read_bytes()[known:]:
            assert os.waitpid(child, os.WNOHANG) == (0, 0), "the work has failed"
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.25))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL, "the work has failed"


if __name__ == "__main__":
    main()
