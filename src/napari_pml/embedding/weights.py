"""Weights on disk: safetensors with a line of metadata that says which network they belong to."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from napari_pml.disk import durable
from napari_pml.disk.untrusted import check_bytes, check_is_file, exists
from napari_pml.errors import WeightsError


def bundled(architecture: str) -> Path:
    """Return the path of the weights that come with the package."""
    return Path(__file__).parent / "bundled" / f"{architecture}.safetensors"


def save_weights(state: dict[str, torch.Tensor], path: Path, architecture: str, **about: str) -> None:
    """Write weights in float16, so that an unfinished file never stands at `path`.

    The same weights and metadata give the same bytes, and so the same fingerprint.

    Args:
        state: tensors by parameter name.
        path: the .safetensors file.
        architecture: which network they belong to.
        about: further metadata: data, steps, licence.
    """
    half = {name: value.detach().cpu().half().contiguous() for name, value in state.items()}
    content = save(half, metadata={"architecture": architecture, **about})
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:start]), sort_keys=True).encode()  # safetensors' own is in random order
    header += b" " * (-len(header) % 8)
    durable.write(path, len(header).to_bytes(8, "little") + header + content[start:])


def about_weights(path: Path) -> dict[str, str]:
    """Return the metadata of weights that `load_weights` could read: what `save_weights` was told about them."""
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def load_weights(path: Path, architecture: str | None = None) -> tuple[dict[str, torch.Tensor], str]:
    """Read weights.

    Args:
        path: a .safetensors file; or a PyTorch checkpoint (.pth, .pt) that is a table of tensors and nothing else.
        architecture: the network they must belong to; None takes any.

    Returns:
        float32 tensors by parameter name, and a fingerprint of the file.

    Raises:
        WeightsError: missing, damaged, or of another network.
    """
    if not exists(path):
        raise WeightsError(f"There are no weights at {path}. Check the path; the bundled network needs none.")
    try:
        check_is_file(path)
        check_bytes("the file", (path.stat().st_size,))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} holds no weights: {error}. Check the path.") from error
    if path.suffix in (".pth", ".pt"):
        return _checkpoint(path), f"{architecture}-{digest(path)}"
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get("architecture")
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is not a readable .safetensors file ({error}). Fetch or train it again.") from error
    if broken := [name for name, value in state.items() if not value.isfinite().all()]:
        raise WeightsError(f"{path} holds {broken[0]} with values that are no numbers. Fetch or train it again.")
    if architecture is not None and found != architecture:
        raise WeightsError(f"{path} holds weights of {found!r}, but {architecture!r} is needed.")
    return state, f"{architecture}-{digest(path)}"


def _checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a PyTorch checkpoint; nothing in it is executed."""
    try:
        if is_zipfile(path):
            with ZipFile(path) as archive:
                check_bytes("what is in it", (sum(entry.file_size for entry in archive.infolist()),))
        state = torch.load(path, map_location="cpu", weights_only=True)
        check_bytes("its tensors", (sum(tensor.numel() for tensor in state.values()),), torch.float32.itemsize)
        return {name: tensor.float() for name, tensor in state.items()}
    except Exception as error:  # on damaged files, it raises anything
        reason = next(iter(str(error).splitlines()), "it ends early.")
        raise WeightsError(
            f"{path} is not a PyTorch checkpoint that holds tensors alone: {reason} Fetch it again, or convert it to "
            ".safetensors."
        ) from error


def digest(path: Path) -> str:
    """Return 16 characters that differ between files."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
