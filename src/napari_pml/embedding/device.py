"""Where networks run."""

from __future__ import annotations

import torch

from napari_pml.errors import DeviceError


def choose_device(wanted: str | None = None) -> torch.device:
    """Return the device asked for, or the best one there is: CUDA, then Apple's MPS, then the CPU.

    Raises:
        DeviceError: PyTorch cannot use the device asked for.
    """
    if wanted is not None:
        try:
            torch.empty(0, device=wanted)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise DeviceError(
                f"The device {wanted!r} cannot be used ({reason}). Leave it out, or use 'cpu'."
            ) from error
        return torch.device(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
