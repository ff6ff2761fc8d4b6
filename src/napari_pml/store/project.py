"""A project: the whole work on one video in one folder, saved while it is done.

The folder is a Zarr group. Its attributes are the record, a small piece of JSON that is replaced in one piece and
alone decides what counts: which frames are annotated and where each annotation lies, under which revision, and what
else the masks depend on. Every frame has two places for its annotation; a new one goes to the place that does not
count, then the record is replaced. So a process may be killed at any moment: what is found afterwards is the work
before or after the last change. Masks lie in a `MaskStore` beside it. A change is in the record before anything can be
computed from it, so no mask on disk is newer than the record, and revisions tell which masks are valid, as in memory.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any
from weakref import ref

import numpy as np
import zarr
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from napari_pml.disk.arrays import DurableStore
from napari_pml.disk.durable import sync_folder
from napari_pml.disk.untrusted import check_own
from napari_pml.errors import DamagedMasksError, ProjectClosedError, ProjectError
from napari_pml.store.masks import CHECKED, ONE_FOLDER, MaskStore
from napari_pml.store.project_record import Copy, ProjectRecord
from napari_pml.types import UNREADABLE, Annotations, Labels
from napari_pml.video.fingerprint import changed_frame, far_sizes, fingerprint, later_frames
from napari_pml.video.video import Video, open_video


class Project:
    """The folder in which the work on one video is kept; open in one process at a time.

        >>> project = Project.create("cat.pml.zarr", open_video("cat.mp4"))
        >>> session = Session(open_video("cat.mp4"), project=project)  # from now on everything is saved

    and later

        >>> project = Project.open("cat.pml.zarr")
        >>> session = Session(project.open_video(), project=project)

    Attributes:
        path: of the folder.
        annotations: as they were last saved.
    """

    def __init__(self, path: Path, lock: FileLock, record: ProjectRecord) -> None:
        """Read a project whose lock is held; `create` and `open` are for everybody else."""
        self.path, self._lock, self._record = path, lock, record
        self._written = record
        self._writing = threading.RLock()
        self._writing_masks = threading.RLock()  # of its own: a stroke does not wait for a mask
        self._owner: Callable[[], object | None] = _nobody  # who saves here, as long as it lives
        self._masks: Callable[[], MaskStore | None] = _nobody  # likewise
        try:
            group: Any = zarr.open_group(DurableStore(path), mode="r+")
            self._group, self._places = group, group["annotations"]
            found, wanted = (self._places.shape, self._places.chunks), ((2, *record.shape), (1, 1, *record.shape[1:]))
            if (*found, self._places.dtype) != (*wanted, np.uint16):
                raise ValueError(f"they are {self._places.dtype} of shape {found[0]} in chunks of {found[1]}")
            self.annotations = self._read_all()
        except (ProjectError, *UNREADABLE) as error:
            self.close()
            if isinstance(error, ProjectError):
                raise
            raise ProjectError(f"The annotations in {path} are damaged: {error}. Open another copy of it.") from error

    @classmethod
    def create(cls, path: str | Path, video: Video, source: str | Path | None = None) -> Project:
        """Make an empty project.

        Args:
            path: of the folder to make, best named like cat.pml.zarr.
            video: that will be segmented.
            source: the file or folder to find the video in again; by default where `video` was opened.

        Raises:
            ProjectError: there is something at `path` already, or nothing can be written there.
            VideoError: the video cannot be decoded.
        """
        path, source = Path(path).expanduser().absolute(), source or video.path
        where = None if source is None else str(Path(source).absolute())
        record = ProjectRecord(
            name=video.name if source is None else Path(source).name,
            path=where,
            shape=video.shape,
            fingerprint=fingerprint(video),
            later=later_frames(video),
            sizes=far_sizes(video),
            channel_axis=video.selection.channel_axis,
            position=video.selection.position,
            channel=video.selection.channel,
            plane=video.selection.plane,
        )
        unfinished = path.with_name(f".unfinished-{os.getpid()}-{path.name}")  # until all of it is there
        try:
            if path.exists() or path.is_symlink():
                raise ProjectError(f"There is something at {path} already. Choose another name, or open it.")
            group: Any = zarr.open_group(DurableStore(unfinished), mode="w")
            size = (2, *video.shape)
            group.create_array(
                "annotations",
                shape=size,
                chunks=(1, 1, *size[2:]),
                dtype="uint16",
                fill_value=0,
                compressors=CHECKED,
                chunk_key_encoding=ONE_FOLDER,
            )
            group.attrs.put(record.as_attributes())
            unfinished.rename(path)
            sync_folder(path.parent)
        except (OSError, ValueError) as error:  # ValueError: no file can have that name
            raise ProjectError(f"No project can be made at {path}: {error}. Choose another place.") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path) -> Project:
        """Go on with a project.

        Raises:
            ProjectError: there is none at `path`, it is damaged, or it is open elsewhere.
        """
        path = Path(path).expanduser().absolute()
        ProjectRecord.read(path)  # before a lock is made in a folder that is something else
        try:
            check_own(path)
        except (OSError, ValueError) as error:
            raise ProjectError(
                f"{path} is not opened: {error}. All of a project lies in its folder: put the files themselves there."
            ) from error
        lock = _locked(path)
        return cls(path, lock, ProjectRecord.read(path))

    def close(self) -> None:
        """Let others open the project. Everything is saved already; what is saved from now on ends in an error."""
        with self._writing, self._writing_masks:
            masks = self._masks()
            if self._lock.is_locked and masks is not None:
                with suppress(OSError):  # then a power cut may take masks back, which can be made again
                    masks.flush()
            self._lock.release()

    @property
    def record(self) -> ProjectRecord:
        """What the project knows, apart from arrays."""
        return self._record

    def open_video(self) -> Video:
        """Open the video where it was, or beside the project.

        Raises:
            ProjectError: it is not there any more, or another video is.
            VideoError: it cannot be decoded.
        """
        path = Path(self._record.path or "")
        found = next((p for p in (path, self.path.parent / path.name) if self._record.path and p.exists()), None)
        if found is None:
            raise ProjectError(
                f"The video of this project, {self._record.path or self._record.name}, is not there any more. "
                f"Put it back, or beside {self.path}, or open it yourself."
            )
        video = open_video(
            found,
            channel_axis=self._record.channel_axis,
            position=self._record.position,
            channel=self._record.channel,
            plane=self._record.plane,
        )
        self.check(video)
        return video

    def check(self, video: Video) -> None:
        """Raise ProjectError if this is not the project's video, or not what it was any more."""
        if video.shape != self._record.shape or fingerprint(video) != self._record.fingerprint:
            raise ProjectError(
                f"{self.path.name} belongs to another video: {self._record.name} with (frames, rows, columns) "
                f"{self._record.shape}; {video.name} has {video.shape} or shows something else. Open that video."
            )
        if (t := changed_frame(video, self._record.later, self._record.sizes)) is not None:
            raise ProjectError(
                f"From frame {t} on, {video.name} shows something else than when {self.path.name} was made, so what is "
                "saved there does not belong to it. Open the video as it was, or begin a new project."
            )

    def claim(self, owner: object) -> None:
        """Let `owner` alone save here until it calls `release`, or is gone.

        Raises:
            ProjectError: another owner saves here, which would write over it; or the project is closed.
        """
        with self._saving():
            if self._owner() not in (None, owner):
                raise ProjectError(
                    f"Another session works in {self.path} already. Go on with that one, or close the project and "
                    "open it again."
                )
            self._owner = ref(owner)

    def release(self, owner: object) -> None:
        """Let others claim the project, if `owner` has it."""
        with self._writing:
            if self._owner() is owner:
                self._owner = _nobody

    def masks(self, grid: tuple[int, int]) -> MaskStore:
        """Return the masks, which are saved as they are made, until the project is closed.

        Damaged ones are set aside, with a warning: all of them can be made again.

        Raises:
            ExportError: the disk refuses.
            ProjectClosedError: the project is closed already.
        """
        saving, place = partial(self._saving, self._writing_masks), self.path / "masks"
        with saving():
            try:
                masks = MaskStore(self._record.shape, grid, place, saving)
            except DamagedMasksError as error:
                aside = next(p for n in count(1) if not (p := place.with_name(f"masks-damaged-{n}")).exists())
                place.rename(aside)
                warnings.warn(f"{error} They are set aside as {aside}, and are made again.", stacklevel=2)
                masks = MaskStore(self._record.shape, grid, place, saving)
            self._masks = ref(masks)
            return masks

    def shown_masks(self) -> Any:
        """Return the (T, H, W) uint16 array of the masks to look at, or None if none were ever made."""
        return self._group.get("masks/labels")

    def save(self, annotations: Annotations, provenance: Mapping[str, Any]) -> None:
        """Save annotations, and what else masks depend on, as one change.

        Args:
            annotations: of any revision; only frames that differ from the saved ones are written.
            provenance: see `ProjectRecord`.

        Raises:
            ProjectError: the disk refuses: what was saved before stays, and the next call tries again. Or the project
                is closed.
        """
        with self._saving():
            places, copies = dict[int, int](), dict[int, tuple[Copy | None, Copy | None]]()
            for t, labels in annotations.frames.items():
                place, copy = self._record.frames.get(t, 1), self._record.copies.get(t, (None, None))
                if labels is not self.annotations.frames.get(t):
                    place = 1 - place
                    self._places[place, t] = labels
                    new = _digest(labels), t in annotations.complete
                    copy = (new, copy[1]) if place == 0 else (copy[0], new)
                places[t], copies[t] = place, copy
            self._write(
                replace(
                    self._record,
                    revision=annotations.revision,
                    frames=places,
                    copies=copies,
                    complete=tuple(sorted(annotations.complete)),
                    provenance=dict(provenance),
                )
            )
            self.annotations = annotations

    def note(self, **changes: Any) -> None:
        """Change `names`, `colours` or `drawings` of the record, to be saved with the next change, or by `flush`."""
        with self._writing:
            self._record = replace(self._record, **changes)

    def flush(self) -> None:
        """Save what was noted; ProjectError if the disk refuses, or the project is closed."""
        with self._writing:
            if self._record != self._written:
                self._write(self._record)

    def references(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that were given to `save_references` under the digest in the provenance.

        Raises:
            ProjectError: they are damaged.
        """
        try:
            group = self._group[f"references/{self._record.provenance['references']}"]
            return {name: array[:] for name, array in group.arrays()}
        except UNREADABLE as error:
            raise ProjectError(
                f"The references from other videos in {self.path} are damaged: {error}. Open another copy of it."
            ) from error

    def save_references(self, digest: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Save references from other videos; they count once `save` names `digest` in the provenance.

        Raises:
            ProjectError: the disk refuses, or the project is closed.
        """
        with self._saving():
            group = self._group.require_group(f"references/{digest}")
            for name, array in arrays.items():
                group.create_array(name, data=array, overwrite=True)

    def learned(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Return the arrays that were given to `save_learned` last for each method, by the method's name.

        None if they are damaged: all can be learned.
        """
        if "learned" not in self._group:
            return {}
        found: dict[str, dict[str, NDArray[Any]]] = {}
        try:
            group = self._group["learned"]
            for name, method in _methods(group).items():
                found.setdefault(method, {})[name] = group[name][:]
        except UNREADABLE:
            return {}
        return found

    def save_learned(self, method: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Save what a method has learned, in place of what it had learned before; what others have learned stays.

        Args:
            method: its name.
            arrays: those of a name that is there already are the same, and not written again.

        Raises:
            ProjectError: the disk refuses, or the project is closed. What was saved before stays.
        """
        if not arrays:
            return
        with self._saving():
            group = self._group.require_group("learned")
            known = _methods(group)
            for name in arrays.keys() - known.keys():
                group.create_array(name, data=arrays[name], overwrite=True)
            others = {name: other for name, other in known.items() if other != method}
            kept = others | dict.fromkeys(arrays, method)
            group.attrs.put({"names": kept})  # from now on, in one piece
            for name in set(group.array_keys()) - kept.keys():
                del group[name]

    def _read_all(self) -> Annotations:
        """Return all annotations; where one is damaged, its frame's earlier one, if that is whole, and warn."""
        frames, places, complete = dict[int, Labels](), dict[int, int](), set[int]()
        earlier, lost = list[int](), list[int]()
        for t, place in sorted(self._record.frames.items()):
            for chosen in (place, 1 - place):
                if (labels := self._read(t, chosen)) is not None:
                    frames[t], places[t] = labels, chosen
                    if self._is_complete(t, chosen):
                        complete.add(t)
                    if chosen != place:
                        earlier.append(t)
                    break
            else:
                lost.append(t)
        found = Annotations(self._record.shape, MappingProxyType(frames), frozenset(complete), self._record.revision)
        if not earlier and not lost:
            return found
        what = [f"an earlier one is used on frames {_listed(earlier)}"] if earlier else []
        what += [f"there is none any more on frames {_listed(lost)}"] if lost else []
        warnings.warn(
            f"Annotations in {self.path} are damaged: {', and '.join(what)}. All others are whole. Look at these "
            "frames, or open another copy of the project.",
            stacklevel=4,
        )
        found = found.renewed()  # masks were made from what is lost
        copies = {t: self._record.copies[t] for t in frames if t in self._record.copies}
        whole = replace(self._record, revision=found.revision, frames=places, copies=copies)
        self._write(replace(whole, complete=tuple(sorted(complete))))
        return found

    def _read(self, t: int, place: int) -> Labels | None:
        """Return what a place holds, or None if that is not the annotation that was written there last."""
        try:
            labels: Labels = self._places[place, t]
        except UNREADABLE:
            return None
        copy = self._record.copies.get(t, (None, None))[place]
        if copy is None:  # of an earlier version, or nothing was ever written there
            is_whole = bool(labels.any()) or (place == self._record.frames[t] and t in self._record.complete)
        else:
            is_whole = copy[0] == _digest(labels)
        labels.flags.writeable = False
        return labels if is_whole else None

    def _is_complete(self, t: int, place: int) -> bool:
        """Whether what a place holds is complete. If that of an earlier one is not known, what is painted counts."""
        copy = self._record.copies.get(t, (None, None))[place]
        return copy[1] if copy is not None else place == self._record.frames[t] and t in self._record.complete

    def _write(self, record: ProjectRecord) -> None:
        with self._saving():
            self._group.attrs.put(record.as_attributes())
            self._record = self._written = record

    @contextmanager
    def _saving(self, lock: threading.RLock | None = None) -> Iterator[None]:
        """Let one thread at a time write to an open project; turn what the disk says into a ProjectError."""
        with lock or self._writing:
            if not self._lock.is_locked:
                raise ProjectClosedError(
                    f"{self.path} is closed, so nothing can be saved there. Open it again, with another session."
                )
            try:
                yield
            except OSError as error:
                raise ProjectError(
                    f"The work cannot be saved in {self.path}: {error}. It stays in memory: make room on the disk, or "
                    "save the project elsewhere."
                ) from error


def _digest(labels: Labels) -> str:
    """Return 16 characters that differ between annotations of a frame."""
    return hashlib.sha256(np.ascontiguousarray(labels).data).hexdigest()[:16]


def _listed(frames: Sequence[int]) -> str:
    return ", ".join(map(str, frames[:9])) + (", ..." if len(frames) > 9 else "")


def _nobody() -> None:
    """Return what a reference to an owner that is gone returns."""


def _methods(group: Any) -> dict[str, str]:
    """Return which method has learned each array of the group; before, OSVOS alone had anything to keep."""
    names = group.attrs.get("names", {})
    return names if isinstance(names, dict) else dict.fromkeys(names, "osvos")


def is_free(path: Path) -> bool:
    """Whether no process, this one included, has the project at `path` open."""
    try:
        _locked(path).release()
    except ProjectError:
        return False
    return True


def _locked(path: Path) -> FileLock:
    """Take the lock of a project; the system frees that of a process that died."""
    if (path / "lock").is_symlink():
        raise ProjectError(f"{path} is not opened: its lock is a link. Remove the link.")
    lock = FileLock(path / "lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise ProjectError(f"{path} is open in another window or process. Close it there first.") from error
    except OSError as error:
        raise ProjectError(f"{path} cannot be written to: {error}. Copy it to another place.") from error
    return lock
