"""A table of jobs: one video a row, read and checked as a whole before any work begins."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from napari_pml.disk.untrusted import exists
from napari_pml.engine.annotation_files import AnnotationFiles
from napari_pml.errors import ExportError, JobsError, PmlError, SettingsError
from napari_pml.io.destination import Inputs, is_folder_name
from napari_pml.io.label_files import read_annotation
from napari_pml.io.label_images import read_labels
from napari_pml.methods.config import MethodConfig, parse_config
from napari_pml.methods.registry import METHODS

REQUIRED = ("video", "out")
OPTIONAL = ("annotations", "strokes", "method", "config")


@dataclass(frozen=True)
class Job:
    """One video to be segmented.

    Attributes:
        video: file or folder.
        files: what is annotated on it.
        config: the method and its settings.
        out: folder for the masks.
        strict: whether it ends where a frame is damaged, instead of repeating the one before it.
    """

    video: Path
    files: AnnotationFiles
    config: MethodConfig
    out: Path
    strict: bool = False

    @property
    def inputs(self) -> list[Path]:
        """All that is read."""
        return [self.video, *self.files.paths]


def read_jobs(table: Path) -> list[Job]:
    """Read a CSV of jobs; docs/cluster.md describes its columns.

    Args:
        table: the CSV. Relative paths in it begin at its folder.

    Returns:
        At least one job, with absolute paths, in the order of the rows.

    Raises:
        JobsError: the file cannot be read, lacks a column, or has one twice or an unknown one; or a row is incomplete,
            names a file that does not exist or holds no labels, a setting that there is not, the same `out` as another
            row, or an `out` that would overwrite what a row reads.
    """
    if not exists(table) or not table.is_file():
        raise JobsError(f"There is no table {str(table)!r}. Give the CSV that has a row for every video.")
    folder = table.absolute().parent
    rows = _read_rows(table)
    jobs: list[Job] = []
    readers: dict[Path, int] = {}
    for row, entries in rows:
        with _naming(table, row, entries):
            jobs.append(_parse(entries, folder))
        for path in jobs[-1].inputs:
            readers.setdefault(path, row)
    if not jobs:
        raise JobsError(f"{table} has no rows. Give one for every video, below the names of the columns.")
    inputs, writers = Inputs(readers), dict[Path, int]()
    for (row, entries), job in zip(rows, jobs, strict=True):
        with _naming(table, row, entries):
            if (lost := inputs.overwritten_by(job.out)) is not None:
                raise ExportError(
                    f"the masks would overwrite {lost}, which row {readers[lost]} reads. Give another `out`."
                )
            if (writer := writers.setdefault(job.out.resolve(), row)) != row:
                raise ExportError(f"{entries['out']} is where row {writer} writes. Give another `out`.")
    return jobs


@contextmanager
def _naming(table: Path, row: int, entries: Mapping[str, str]) -> Iterator[None]:
    """Say in which row of the table there is something wrong."""
    try:
        yield
    except PmlError as error:
        raise JobsError(f"{table.name}, row {row} ({entries['video']}): {error}") from error


def _read_rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the rows that are not empty, each with its number as editors and spreadsheets show it."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            found = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise JobsError(f"{table} cannot be read as a CSV: {error}. Save it as UTF-8 with commas.") from error
    if missing := [name for name in REQUIRED if name not in names]:
        raise JobsError(
            f"{table} has no column {missing[0]!r}, but {', '.join(names) or 'nothing at all'}. The first row gives "
            f"the names of the columns, with commas between them: {', '.join(REQUIRED + OPTIONAL)}."
        )
    if unknown := [name for name in names if name not in REQUIRED + OPTIONAL]:
        raise JobsError(f"{table} has a column {unknown[0]!r}. Columns are {', '.join(REQUIRED + OPTIONAL)}.")
    if twice := [name for name in OPTIONAL + REQUIRED if names.count(name) > 1]:
        raise JobsError(
            f"{table} has two columns {twice[0]!r}. Give one; it may hold several files with ; between them."
        )
    rows = []
    for number, entries in found:
        if None in entries:
            raise JobsError(f"{table.name}, row {number} has more entries than there are columns. Quote commas.")
        row = {name: (entries.get(name) or "").strip() for name in REQUIRED + OPTIONAL}
        if any(row.values()):
            rows.append((number, row))
    return rows


def _parse(entries: Mapping[str, str], folder: Path) -> Job:
    """Return the job of a row; PmlError if there is something wrong with it."""
    for name in REQUIRED:
        if not entries[name]:
            raise JobsError(f"`{name}` is empty.")
    video, out = (folder / Path(entries[name]).expanduser() for name in REQUIRED)
    if not exists(video):
        raise JobsError(f"there is no file or folder {video}.")
    if not is_folder_name(out):
        raise ExportError(f"`out` is a folder for PNG masks, so it has no suffix {out.suffix} as {out.name} has.")
    files = AnnotationFiles.parse(_list(entries["annotations"]), _list(entries["strokes"]), folder)
    if not files:
        raise JobsError("nothing is annotated: give a mask in `annotations`, or strokes in `strokes`.")
    for t, path in files.masks.items():
        read_annotation(path, t)
    for path in files.strokes.values():
        read_labels(path, strokes=True)
    method = entries["method"] or "pml"
    if method not in METHODS:
        raise SettingsError(f"there is no method {method!r}. There are {', '.join(METHODS)}.")
    return Job(video, files, parse_config(METHODS[method], _list(entries["config"])), out)


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]
