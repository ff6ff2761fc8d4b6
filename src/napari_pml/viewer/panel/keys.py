"""Keyboard shortcuts while the panel is open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from napari.components import ViewerModel
from qtpy.QtWidgets import QAbstractButton

Unbind = Callable[[], None]


def bind_keys(viewer: ViewerModel, keys: Mapping[str, QAbstractButton | Callable[[], None]]) -> Unbind:
    """Have keys press buttons, whose tooltips then name them, or call functions; keys that are taken stay as they are.

    Args:
        viewer: whose keys they become; keys of the active layer come first.
        keys: key in napari's words -> what it does.

    Returns:
        A function that gives the keys back, however often it is called.
    """
    bound: dict[str, Callable[[Any], None]] = {}
    for key, meaning in keys.items():
        press = _pressing(meaning.click if isinstance(meaning, QAbstractButton) else meaning)
        try:
            viewer.bind_key(key, press)
        except ValueError:  # somebody else's
            continue
        bound[key] = press
        if isinstance(meaning, QAbstractButton):
            meaning.setToolTip(f"{meaning.toolTip()} ({key.replace('-', '+')})")

    def unbind() -> None:
        while bound:
            viewer.bind_key(bound.popitem()[0], None)

    return unbind


def _pressing(do: Callable[[], Any]) -> Callable[[Any], None]:
    def press(viewer: ViewerModel) -> None:  # napari asks for its __name__, which a partial has not
        do()

    return press
