"""Which embedders there are, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from napari_pml import extensions
from napari_pml.disk.untrusted import exists
from napari_pml.embedding.catalogue import CATALOGUE, find
from napari_pml.embedding.networks.compact import CompactNet, photographs, trained_trunk
from napari_pml.embedding.networks.embedder import NetworkEmbedder, network_embedder
from napari_pml.embedding.networks.foundation import FoundationEmbedder
from napari_pml.embedding.protocol import Embedder
from napari_pml.embedding.weights import bundled, digest
from napari_pml.errors import WeightsError

DEEPLAB = "deeplab-resnet101"
"""The paper's network, but for the training of its head."""


def _compact(device: torch.device) -> Embedder:
    return network_embedder(CompactNet.name, bundled(CompactNet.name), device)


def _deeplab(device: torch.device) -> Embedder:
    """Return the paper's trunk as published; its head begins with the principal components of a few photographs."""
    (path,) = find(DEEPLAB)
    net = CompactNet(trained_trunk(path))
    net.start_from_principal_components(photographs())
    return NetworkEmbedder(DEEPLAB, net, f"{DEEPLAB}-{digest(path)}", device)


def _foundation(name: str, device: torch.device) -> Embedder:
    config, _ = find(name)
    return FoundationEmbedder(name, config.parent, device)


Factory = Callable[[torch.device], Embedder]


def _factory(make: Factory) -> Factory:
    """Return what makes the embedder of an extension; TypeError if it cannot be called."""
    if not callable(make):
        raise TypeError(f"{make!r} cannot be called with a device")
    return make


_OWN: dict[str, Factory] = {
    CompactNet.name: _compact,
    DEEPLAB: _deeplab,
    **{name: partial(_foundation, name) for name in CATALOGUE if name != DEEPLAB},
}

EMBEDDERS = _OWN | extensions.load(extensions.EMBEDDERS, _factory, taken=_OWN)
"""Every embedder by its name: ours, of which all but the first have to be downloaded, see `catalogue`; and those of
other packages, see `napari_pml.extensions`."""


def load_embedder(name: str, device: torch.device) -> Embedder:
    """Return the embedder of that name, or the one in a file or folder.

    Args:
        name: a key of `EMBEDDERS`; the path of weights that `napari-pml train` wrote (.safetensors); or of a folder
            with a vision transformer in the format of transformers (config.json, model.safetensors).
        device: where it shall run.

    Raises:
        WeightsError: there is no such embedder, it is not on this computer, or cannot be read.
    """
    if name in EMBEDDERS:
        return EMBEDDERS[name](device)
    path = Path(name).expanduser().absolute()  # a project has to find it again from any folder
    if path.suffix == ".safetensors":
        return network_embedder(str(path), path, device)
    if exists(path / "config.json"):
        return FoundationEmbedder(str(path), path, device)
    raise WeightsError(
        f"There is no embedder {name!r}. Choose one of {', '.join(EMBEDDERS)}, or give the path of a .safetensors file "
        "or of a folder with config.json and model.safetensors."
    )
