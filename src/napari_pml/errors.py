"""The errors that a person can cause."""

from collections.abc import Sequence


class PmlError(Exception):
    """Base of every error that a user can cause; its message says what was expected, got, and what to do."""


class AnnotationError(PmlError):
    """An annotation does not fit the video, or there is none."""


class VideoError(PmlError):
    """A video cannot be opened or decoded."""


class ChoiceError(VideoError):
    """A file holds several positions, channels or planes, and none was chosen.

    Attributes:
        kind: "position", "channel" or "plane".
        n: how many there are.
        names: of them, or empty.
    """

    def __init__(self, message: str, kind: str, n: int, names: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.kind, self.n, self.names = kind, n, names


class DamagedFrameError(VideoError):
    """One frame of a video cannot be decoded; the others may be whole."""


class WeightsError(PmlError):
    """Network weights are missing, damaged, or belong to another network."""


class DeviceError(PmlError):
    """PyTorch cannot compute on the device asked for."""


class ExportError(PmlError):
    """A result cannot be written where it was asked for."""


class DamagedMasksError(ExportError):
    """The masks in a folder are damaged, or those of another video."""


class ProjectError(PmlError):
    """A project is missing, damaged, in use, of another video, or cannot be saved."""


class ProjectClosedError(ProjectError):
    """A project was closed, so nothing can be saved there any more."""


class DatasetError(PmlError):
    """A folder of training or evaluation videos is not laid out as expected."""


class JobsError(PmlError):
    """A table of jobs cannot be read, or a row of it is wrong."""


class ClusterError(PmlError):
    """There is no cluster to work on, or it is gone."""


class SettingsError(PmlError):
    """There is no such setting, or it cannot have that value."""
