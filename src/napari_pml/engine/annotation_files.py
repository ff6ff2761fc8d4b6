"""Annotations of one video from files: label images, strokes, labelme and CVAT."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from napari_pml.disk.untrusted import exists
from napari_pml.engine.session import Session
from napari_pml.errors import AnnotationError
from napari_pml.io.label_files import NamedLabels, key_frames, read_annotation
from napari_pml.io.label_images import read_labels
from napari_pml.store.project import Project
from napari_pml.types import BACKGROUND, labels_in


@dataclass(frozen=True)
class AnnotationFiles:
    """The label images that annotate one video; no frame is in both.

    Attributes:
        masks: frame number -> label image of a whole frame, or a file of labelme or CVAT.
        strokes: frame number -> image of strokes, in which 0 is unknown.
    """

    masks: Mapping[int, Path]
    strokes: Mapping[int, Path]

    @classmethod
    def parse(cls, masks: Sequence[str], strokes: Sequence[str], folder: Path = Path()) -> AnnotationFiles:
        """Read what a person wrote.

        Args:
            masks: FRAME=FILE each, or a bare path, which is of frame 0, or of all key frames of an .xml of CVAT for
                video.
            strokes: the same.
            folder: where relative paths begin.

        Raises:
            AnnotationError: an entry is not understood, a frame comes twice, or a file is missing.
        """
        found = cls(_parse(masks, "annotations", folder), _parse(strokes, "strokes", folder))
        if both := sorted(found.masks.keys() & found.strokes.keys()):
            raise AnnotationError(f"Frame {both[0]} has both annotations and strokes; give one of them.")
        return found

    @property
    def paths(self) -> list[Path]:
        """All of the files."""
        return [*self.masks.values(), *self.strokes.values()]

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.masks or self.strokes)

    def annotate(self, session: Session, references: Iterable[Project] = ()) -> Mapping[int, str]:
        """Give a session everything that is in the files, as one change.

        Objects with a name get the number that they have in the session's project, or one that is free: in no order of
        files does the number of another object become theirs.

        Args:
            session: to annotate.
            references: the projects of other videos that it has learned from: their objects keep number and name,
                and the session's project notes the names.

        Returns:
            The names of the objects that have one.

        Raises:
            AnnotationError: a file holds no labels, or does not fit the video; or no object is annotated.
            ProjectError: the annotations could not be saved.
        """
        names = dict(session.project.record.names) if session.project else {}
        for label, name in chain(*(other.record.names.items() for other in references)):
            if name not in names.values():
                names.setdefault(label, name)
        found = {t: NamedLabels(read_labels(path, strokes=True)) for t, path in self.strokes.items()}
        size = session.video.shape[1:]
        found |= {t: read_annotation(path, t, size) for t, path in self.masks.items()}
        given = [labels_in(named.labels).tolist() for named in found.values() if not named.names]
        taken = dict.fromkeys([*session.object_ids, *chain(*given)], "")
        for t, named in found.items():
            found[t] = named.renumbered(taken | names)
            names |= found[t].names
        if session.project:
            session.project.note(names=names)
        session.annotate_frames({t: named.labels for t, named in found.items()}, complete=self.masks)
        if session.project:
            session.project.flush()
        if not session.object_ids:
            raise AnnotationError(
                "No object is annotated, only background. Objects are 1, 2, ...; "
                f"in an image of strokes {BACKGROUND} (8 bit: 255) is background."
            )
        return names


def _parse(entries: Sequence[str], what: str, folder: Path) -> dict[int, Path]:
    """Turn ["0=first.png"] into {0: folder / "first.png"}."""
    found: dict[int, Path] = {}
    for entry in entries:
        frame, separator, file = (part.strip() for part in entry.partition("="))
        if not separator:
            frame, file = "", entry.strip()
        elif not frame.isdecimal():
            raise AnnotationError(f"{what} {entry}: expected FRAME=FILE, such as 0=first.png.")
        path = folder / Path(file).expanduser()
        if not exists(path) or not path.is_file():
            raise AnnotationError(f"{what} {entry}: there is no file {path}.")
        for t in [int(frame)] if frame else key_frames(path) or [0]:
            if t in found:
                raise AnnotationError(f"{what}: frame {t} is given twice; put all its labels into one image.")
            found[t] = path
    return found
