"""What was done for one job: a record in its folder, written last, that says what the masks were made from.

A folder of masks without it is not finished.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from napari_pml.cluster.jobs import Job
from napari_pml.embedding.protocol import Embedder
from napari_pml.embedding.weights import digest
from napari_pml.io.destination import png_name, written
from napari_pml.io.label_images import RECORD
from napari_pml.video.identity import identity

Origin = dict[str, Any]


@dataclass(frozen=True)
class JobRecord:
    """How the masks in a folder came about.

    Attributes:
        origin: all that they depend on, see `origin`.
        frames: how many there are.
        seconds: that they took.
        device: where they were computed.
        version: of napari-pml.
    """

    origin: Origin
    frames: int
    seconds: float
    device: str
    version: str = version("napari-pml")

    def save(self, folder: Path) -> None:
        """Write into the folder of the masks; ExportError if that cannot be done."""
        with written(folder / RECORD) as unfinished:
            unfinished.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, folder: Path) -> JobRecord | None:
        """Return what `save` wrote, or None if there is nothing of use."""
        try:
            return cls(**json.loads((folder / RECORD).read_text()))
        except (OSError, ValueError, TypeError):  # none, damaged, or of another version
            return None

    def is_whole(self, folder: Path) -> bool:
        """Whether every mask is still in the folder."""
        return all((folder / png_name(t)).is_file() for t in range(self.frames))

    def discard(self, folder: Path) -> None:
        """Take the masks and then the record away, before others come in their place."""
        for name in (*map(png_name, range(self.frames)), RECORD):
            with suppress(OSError):
                (folder / name).unlink()


def origin(job: Job, embedder: Embedder) -> Origin:
    """Return what the masks of a job depend on, as JSON: as long as it stays the same, they need not be made again.

    A video is known by the sizes and times of its files and pieces of them (see `identity`), since reading it all would
    take long; annotations and weights by what is in them.

    Raises:
        OSError: a file cannot be read.
    """
    return {
        "video": identity(job.video),
        "annotations": {str(t): digest(path) for t, path in job.files.masks.items()},
        "strokes": {str(t): digest(path) for t, path in job.files.strokes.items()},
        "settings": job.config.as_record(),
        "embedder": embedder.fingerprint,
        "method": job.config.fingerprint(embedder),
        "strict": job.strict,
        "resolution": "auto",
    }
