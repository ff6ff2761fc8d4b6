"""What a method may be set to: one frozen dataclass each, read from and written as plain text and JSON."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

from napari_pml.embedding.networks.side_network import SideNetwork
from napari_pml.embedding.weights import bundled, digest
from napari_pml.errors import SettingsError
from napari_pml.refinement.guided_filter import Refinement

if TYPE_CHECKING:
    from napari_pml.embedding.protocol import Embedder
    from napari_pml.embedding.video_embeddings import VideoEmbeddings
    from napari_pml.methods.protocol import Method
    from napari_pml.methods.transferred import TransferredReferences


@dataclass(frozen=True)
class MethodConfig(ABC):
    """Settings of a method: the form in the widget, `--config KEY=VALUE`, and what a project remembers.

    Every field is an `Annotated` bool, int, float or `Literal`, numbers with "min" and "max".
    """

    method: ClassVar[str]
    """The method's name in what is saved."""

    refine: Annotated[
        Refinement,
        {
            "label": "outlines",
            "tooltip": "edges: fit outlines to the edges of the image; contours: snap them to what a network takes for "
            "contours of objects (slower); none: as they come from the cells.",
        },
    ] = "edges"

    @abstractmethod
    def make(self, embeddings: VideoEmbeddings, transferred: TransferredReferences | None) -> Method:
        """Return the method, with these settings, for one video.

        Args:
            embeddings: of the video.
            transferred: reference pixels of other videos.
        """

    def fingerprint(self, embedder: Embedder) -> str:
        """Return what changes whenever weights do that segmenting uses beside those of the embedder."""
        return digest(bundled(SideNetwork.name)) if self.refine == "contours" else ""

    def as_record(self) -> dict[str, Any]:
        """Return the settings as JSON; the method is one of them."""
        return {"method": self.method, **asdict(self)}


Config = TypeVar("Config", bound=MethodConfig)


def parse_config(config: Config, entries: Sequence[str]) -> Config:
    """Return settings of which some are replaced by what a person wrote.

    Args:
        config: to begin with.
        entries: KEY=VALUE each, KEY a field of `config`, such as "k=5", "votes=hard" or "adaptation=false".

    Raises:
        SettingsError: an entry is not KEY=VALUE, there is no such setting, or it cannot have that value.
    """
    changes = {}
    for entry in entries:
        key, separator, text = (part.strip() for part in entry.partition("="))
        if not separator:
            raise SettingsError(f"{entry!r} is no setting: expected KEY=VALUE, such as k=5.")
        changes[key] = text
    return with_values(config, changes)


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """Return settings of which some are replaced by values in JSON, or in words.

    Raises:
        SettingsError: there is no such setting, or it cannot have that value.
    """
    hints = get_type_hints(type(config), include_extras=True)
    hints.pop("method")
    if unknown := values.keys() - hints.keys():
        raise SettingsError(f"There is no setting {min(unknown)!r}. There are {', '.join(hints)}.")
    return replace(
        config, **{key: _parse_value(key, str(value), *get_args(hints[key])) for key, value in values.items()}
    )


def _parse_value(key: str, text: str, kind: Any, limits: Mapping[str, Any]) -> Any:
    """Return `text` as a value of a setting's type, within its limits."""
    if kind is bool or get_origin(kind) is Literal:
        choices = {"true": True, "false": False} if kind is bool else {choice: choice for choice in get_args(kind)}
        if text.lower() in choices:
            return choices[text.lower()]
        raise SettingsError(f"The setting {key} cannot be {text!r}: expected {' or '.join(choices)}.")
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not limits["min"] <= value <= limits["max"]:
        number = "a whole number" if kind is int else "a number"
        raise SettingsError(
            f"The setting {key} cannot be {text!r}: expected {number} from {limits['min']} to {limits['max']}."
        )
    return value
