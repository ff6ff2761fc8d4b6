"""What a project knows apart from arrays: a small piece of JSON, the attributes of its Zarr group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import zarr

from napari_pml.disk.arrays import BoundedStore
from napari_pml.disk.untrusted import MAX_FRAMES, MAX_PIXELS, writable_text
from napari_pml.errors import ProjectError
from napari_pml.types import BACKGROUND, MAX_REVISION, UNREADABLE

SUFFIX = ".pml.zarr"
"""How a project's folder is named."""

FORMAT = 1
"""Version of the record and of the arrays beside it."""

_KEY = "napari-pml"  # of the record among the group's attributes


Copy = tuple[str, bool]
"""What is known of an annotation: a digest of its labels, and whether it is complete."""


@dataclass(frozen=True)
class ProjectRecord:
    """What a project knows, apart from arrays.

    Attributes:
        name: of the video, to show to people.
        path: of the video's file or folder, or None if it was an array in memory.
        shape: (T, H, W) of the video.
        fingerprint: of the video's content, see `fingerprint`.
        revision: of the annotations.
        frames: annotated frame -> which of its two places holds the annotation, 0 or 1.
        complete: frames whose unpainted pixels are background.
        names: object -> its name.
        colours: object -> the RGB, 0..255, that a person chose for it; projects of earlier versions have none.
        provenance: what masks depend on besides the annotations: "settings", "embedder", "fingerprint", "method"
            (weights of its own), "references"; "basis" in the file.
        drawings: the points and shapes among the annotations, in the viewer's own words.
        later: later frame of the video -> what it shows, see `later_frames`; projects of earlier versions have none.
        channel_axis: which axis of the video's file holds channels, if that was said when it was opened.
        position, channel, plane: which of several it is, if that was said.
        sizes: first frame of a stretch -> what its stored sizes are, see `far_sizes`; projects of earlier versions have
            none.
        copies: annotated frame -> what its two places hold; projects of earlier versions have none.
    """

    name: str
    path: str | None
    shape: tuple[int, int, int]
    fingerprint: str
    revision: int = 0
    frames: Mapping[int, int] = field(default_factory=dict)
    complete: tuple[int, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    colours: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    drawings: tuple[Mapping[str, Any], ...] = ()
    later: Mapping[int, str] = field(default_factory=dict)
    channel_axis: int | None = None
    position: int | None = None
    channel: int | None = None
    plane: int | None = None
    sizes: Mapping[int, str] = field(default_factory=dict)
    copies: Mapping[int, tuple[Copy | None, Copy | None]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> ProjectRecord:
        """Read the record of the project at `path`, which may be in use elsewhere.

        Raises:
            ProjectError: there is no project, or it is damaged, or of a later version.
        """
        try:
            is_folder = path.is_dir()
        except OSError:  # no file can have such a name, or nobody may look into the folder
            is_folder = False
        if not is_folder:
            raise ProjectError(f"There is no project at {path}. A project is a folder named like cat.pml.zarr.")
        try:
            attributes: dict[str, Any] = dict(zarr.open_group(BoundedStore(path, read_only=True), mode="r").attrs)
        except UNREADABLE as error:
            raise ProjectError(f"{path} is no project, or a damaged one: {error}. Open another copy of it.") from error
        if _KEY not in attributes:
            raise ProjectError(f"{path} holds something else than a project of napari-pml. Choose another folder.")
        try:
            found = dict(attributes[_KEY])
            version = int(found.pop("format"))
            if version > FORMAT:
                raise ProjectError(
                    f"{path} was made by a later version of napari-pml (format {version}, this one reads {FORMAT}). "
                    "Update napari-pml to open it."
                )
            n_frames, height, width = (int(n) for n in found.pop("shape"))
            record = cls(
                shape=(n_frames, height, width),
                revision=int(found.pop("revision")),
                frames={int(t): int(place) for t, place in found.pop("frames").items()},
                complete=tuple(int(t) for t in found.pop("complete")),
                names={int(label): writable_text(str(name)) for label, name in found.pop("names").items()},
                colours={int(label): _rgb(*colour) for label, colour in found.pop("colours", {}).items()},
                provenance=found.pop("basis", {}),
                drawings=tuple(found.pop("drawings")),
                later={int(t): str(shown) for t, shown in found.pop("later", {}).items()},
                sizes={int(t): str(stored) for t, stored in found.pop("sizes", {}).items()},
                copies={
                    int(t): (_copy(first), _copy(second)) for t, (first, second) in found.pop("copies", {}).items()
                },
                **found,
            )
            record._check()
            return record
        except UNREADABLE as error:
            raise ProjectError(f"The record of {path} is damaged: {error!r}. Open another copy of it.") from error

    def _check(self) -> None:
        """Raise ValueError where a value cannot be, whatever the arrays hold."""
        possible = {
            "shape": min(self.shape) > 0 and self.shape[0] <= MAX_FRAMES and prod(self.shape[1:]) <= MAX_PIXELS,
            "revision": 0 <= self.revision < MAX_REVISION,
            "frames": all(0 <= t < self.shape[0] and place in (0, 1) for t, place in self.frames.items()),
            "complete": self.frames.keys() >= set(self.complete),
            "colours": all(0 < label < BACKGROUND and 0 <= min(c) <= max(c) < 256 for label, c in self.colours.items()),
            "provenance": isinstance(self.provenance, dict)
            and all(
                isinstance(value, dict if name == "settings" else str | None) for name, value in self.provenance.items()
            ),
            "name": isinstance(self.name, str),
            "path": isinstance(self.path, str | None),
            "copies": self.frames.keys() >= self.copies.keys(),
            "later": all(0 <= t < self.shape[0] for t in self.later),
            "sizes": not self.sizes or min(self.sizes) == 0,
            **{
                name: isinstance(getattr(self, name), int | None)
                for name in ("channel_axis", "position", "channel", "plane")
            },
        }
        if wrong := [name for name, is_possible in possible.items() if not is_possible]:
            raise ValueError(f"{', '.join(wrong)} cannot be what it says")

    def as_attributes(self) -> dict[str, Any]:
        """Return the attributes of the project's Zarr group, ready for JSON."""
        found = asdict(self)
        found["basis"] = found.pop("provenance")
        for name in ("frames", "names", "colours", "later", "sizes", "copies"):
            found[name] = {str(key): value for key, value in found[name].items()}
        return {_KEY: {"format": FORMAT, **found}}


def _copy(found: Any) -> Copy | None:
    return None if found is None else (str(found[0]), bool(found[1]))


def _rgb(red: Any, green: Any, blue: Any) -> tuple[int, int, int]:
    return int(red), int(green), int(blue)
