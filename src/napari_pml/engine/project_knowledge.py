"""What a project knows of how its masks were made: settings, embedder, references from other videos."""

from __future__ import annotations

import warnings
from dataclasses import fields

import torch

from napari_pml.embedding.networks.compact import CompactNet
from napari_pml.embedding.protocol import Embedder
from napari_pml.embedding.registry import load_embedder
from napari_pml.errors import ProjectError, SettingsError, WeightsError
from napari_pml.methods.borrowed import Borrowed
from napari_pml.methods.config import MethodConfig
from napari_pml.methods.registry import DEFAULT, config_from
from napari_pml.store.project import Project


def known_config(project: Project) -> MethodConfig:
    """Return a project's method and settings; the default if it is new, or knows settings of another version only."""
    try:
        return config_from(project.record.basis.get("settings", {}))
    except SettingsError:
        return DEFAULT


def known_embedder(project: Project | None, device: torch.device) -> Embedder:
    """Return a project's embedder, or the default one if that is not to be had."""
    name = (project and project.record.basis.get("embedder")) or CompactNet.name
    try:
        return load_embedder(name, device)
    except WeightsError as error:
        warnings.warn(
            f"Going on with {CompactNet.name!r}, since the project's own network is missing. {error}", stacklevel=4
        )
        return load_embedder(CompactNet.name, device)


def known_references(project: Project, embedder: Embedder) -> Borrowed | None:
    """Return the references that a project keeps, or None if it has none of this embedder.

    Raises:
        ProjectError: they are damaged.
    """
    basis = project.record.basis
    if basis.get("references") is None:
        return None
    if basis.get("fingerprint") == embedder.fingerprint:
        arrays = project.references()
        names = {field.name for field in fields(Borrowed)}
        if arrays.keys() == names and Borrowed(**arrays).digest == basis["references"]:
            return Borrowed(**arrays)
        raise ProjectError(f"The references from other videos in {project.path} are damaged. Open another copy of it.")
    warnings.warn(
        f"The references that {project.path.name} has from other videos belong to another network and do not count any "
        "more. Learn from these videos again.",
        stacklevel=4,
    )
    return None
