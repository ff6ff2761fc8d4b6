"""Methods and embedders that other packages add by entry point."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from importlib.metadata import entry_points
from typing import Any, TypeVar

T = TypeVar("T")

METHODS, EMBEDDERS = "napari_pml.methods", "napari_pml.embedders"
"""Groups of entry points. One of the first names what returns a `MethodConfig` when it is called, such as its class;
one of the second what returns an `Embedder` when it is called with a `torch.device`."""


def names(group: str) -> list[str]:
    """Return the names that installed packages have in a group of entry points; nothing is imported."""
    return sorted({entry.name for entry in entry_points(group=group)})


def load(group: str, make: Callable[[Any], T], taken: Collection[str] = ()) -> dict[str, T]:
    """Import what installed packages have in a group of entry points.

    An entry point that cannot be imported, or whose name is taken, is left out with a warning.

    Args:
        group: of entry points.
        make: called with each imported object; may raise to refuse it.
        taken: names that extensions cannot have.

    Returns:
        Name -> what `make` returned.
    """
    loaded: dict[str, T] = {}
    for entry in entry_points(group=group):
        package = entry.dist.name if entry.dist is not None else entry.value
        if entry.name in (*taken, *loaded):
            warnings.warn(
                f"{package} adds {entry.name!r}, but that name is taken. Uninstall one of both.", stacklevel=2
            )
            continue
        try:
            loaded[entry.name] = make(entry.load())
        except Exception as error:  # of other people's code
            warnings.warn(
                f"{entry.name!r} of {package} cannot be used: {error}. Update or uninstall that package.", stacklevel=2
            )
    return loaded
