"""What a project knows of how its masks were made: settings, embedder, references from other videos."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch

from napari_pml.embedding.networks.compact import CompactNet
from napari_pml.embedding.protocol import Embedder
from napari_pml.embedding.registry import load_embedder
from napari_pml.errors import ProjectError, SettingsError, WeightsError
from napari_pml.methods.config import MethodConfig
from napari_pml.methods.registry import DEFAULT, config_from
from napari_pml.methods.transferred import TransferredReferences
from napari_pml.store.project import Project
from napari_pml.video.working import RESOLUTIONS


def known_config(project: Project) -> MethodConfig:
    """Return a project's method and settings; the default if it is new, or knows settings of another version only."""
    try:
        return config_from(project.record.provenance.get("settings", {}))
    except SettingsError:
        return DEFAULT


def known_resolution(project: Project | None) -> str:
    """Return the resolution of a project; earlier versions kept it behind the network's name, or knew one alone."""
    provenance = project.record.provenance if project else {}
    _, _, enlarged = str(provenance.get("embedder") or "").rpartition("@")
    if enlarged in RESOLUTIONS:
        return enlarged
    return str(provenance.get("resolution") or ("native" if provenance.get("embedder") else "auto"))


def comparable(provenance: Mapping[str, Any], embedder: str) -> dict[str, Any]:
    """Return what a project's masks depend on, in the words of this version: where the network lies does not count."""
    return {"resolution": "native", **provenance, "embedder": embedder}


def known_embedder(project: Project | None, device: torch.device) -> Embedder:
    """Return a project's embedder, or the default one if that is not to be had."""
    name = str((project and project.record.provenance.get("embedder")) or CompactNet.name)
    name = name.removesuffix("@2x").removesuffix("@4x")  # as versions before `resolution` named it
    try:
        return load_embedder(name, device)
    except WeightsError as error:
        warnings.warn(
            f"Going on with {CompactNet.name!r}, since the project's own network is missing. {error}", stacklevel=4
        )
        return load_embedder(CompactNet.name, device)


def known_references(project: Project, embedder: Embedder) -> TransferredReferences | None:
    """Return the references that a project keeps, or None if it has none of this embedder.

    Raises:
        ProjectError: they are damaged.
    """
    provenance = project.record.provenance
    if provenance.get("references") is None:
        return None
    if provenance.get("fingerprint") == embedder.fingerprint:
        arrays = project.references()
        names = {field.name for field in fields(TransferredReferences)}
        if arrays.keys() == names and TransferredReferences(**arrays).digest == provenance["references"]:
            return TransferredReferences(**arrays)
        raise ProjectError(f"The references from other videos in {project.path} are damaged. Open another copy of it.")
    warnings.warn(
        f"The references that {project.path.name} has from other videos belong to another network and do not count any "
        "more. Learn from these videos again.",
        stacklevel=4,
    )
    return None
