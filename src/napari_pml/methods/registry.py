"""Which methods there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_pml import extensions
from napari_pml.errors import SettingsError
from napari_pml.methods.cells.cells import CellsConfig
from napari_pml.methods.config import MethodConfig, with_values
from napari_pml.methods.feelvos.feelvos import FeelvosConfig
from napari_pml.methods.osvos.osvos import OsvosConfig
from napari_pml.methods.pml.pml import PmlConfig

_OWN: dict[str, MethodConfig] = {
    "pml": PmlConfig(),
    "pml-paper": PmlConfig(mask_head=False, k_strokes=1, votes_strokes="hard", context_frames=0),
    "feelvos": FeelvosConfig(),
    "osvos": OsvosConfig(),
    "cells": CellsConfig(),
}
DEFAULT = _OWN["pml"]


def _settings(make: Any) -> MethodConfig:
    """Return the settings of an extension; TypeError if they are none."""
    config = make()
    if not isinstance(config, MethodConfig):
        raise TypeError(f"it gives {config!r}, which is no MethodConfig")
    return config


METHODS: dict[str, MethodConfig] = _OWN | extensions.load(extensions.METHODS, _settings, taken=_OWN)
"""Named settings: PML as we recommend it, and as the paper has it (k = 5, hard votes, online adaptation, no
context); FEELVOS; OSVOS; many cells; and those of other packages, see `napari_pml.extensions`."""

_CLASSES = {config.method: type(config) for config in METHODS.values()}


def config_from(record: Mapping[str, Any]) -> MethodConfig:
    """Return the settings that `MethodConfig.as_record` wrote; what is not in it is as it is by default.

    Raises:
        SettingsError: it is of another version, which knew other methods, settings or values.
    """
    values = dict(record)
    method = values.pop("method", None)
    if method not in _CLASSES:
        raise SettingsError(f"There is no method {method!r}. There are {', '.join(_CLASSES)}.")
    return with_values(_CLASSES[method](), values)
