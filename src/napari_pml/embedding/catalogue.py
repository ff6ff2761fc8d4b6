"""Networks that other people have trained: where they are, how large, and under which licence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_pml.download import RemoteFile, cache_folder, fetch
from napari_pml.errors import WeightsError


@dataclass(frozen=True)
class Published:
    """A network that can be downloaded when somebody asks for it.

    Attributes:
        files: of which it consists.
        megabytes: of all files.
        licence: its name.
        page: where it is described.
        restricted: whether it is given only to people who have signed in and accepted the licence.
    """

    files: tuple[RemoteFile, ...]
    megabytes: int
    licence: str
    page: str
    restricted: bool = False


def _from_hugging_face(repository: str, megabytes: int, licence: str, restricted: bool = False) -> Published:
    page = f"https://huggingface.co/{repository}"
    files = tuple(RemoteFile(f"{page}/resolve/main/{name}") for name in ("config.json", "model.safetensors"))
    return Published(files, megabytes, licence, page, restricted)


_TORCHVISION = "https://download.pytorch.org/models"

CATALOGUE: dict[str, Published] = {
    "deeplab-resnet101": Published(
        (RemoteFile(f"{_TORCHVISION}/deeplabv3_resnet101_coco-586e9e4e.pth", "586e9e4e"),),
        233,
        "BSD-3-Clause",
        "https://docs.pytorch.org/vision/stable/models/deeplabv3.html",
    ),
    "dinov2-small": _from_hugging_face("facebook/dinov2-small", 88, "Apache-2.0"),
    "dinov2-base": _from_hugging_face("facebook/dinov2-base", 346, "Apache-2.0"),
    "dinov2-large": _from_hugging_face("facebook/dinov2-large", 1217, "Apache-2.0"),
    "dinov3-small": _from_hugging_face("facebook/dinov3-vits16-pretrain-lvd1689m", 86, "DINOv3 License", True),
    "dinov3-base": _from_hugging_face("facebook/dinov3-vitb16-pretrain-lvd1689m", 343, "DINOv3 License", True),
    "dinov3-large": _from_hugging_face("facebook/dinov3-vitl16-pretrain-lvd1689m", 1213, "DINOv3 License", True),
}
"""Every network by its name; torchvision's names hold the first digits of the checksum."""


def folder_of(name: str) -> Path:
    """Return the folder in which the files of a network are looked for."""
    return cache_folder() / "weights" / name


def find(name: str) -> list[Path]:
    """Return the files of a network on this computer; nothing is downloaded.

    Raises:
        WeightsError: they are not there; it says how to get them.
    """
    published, folder = CATALOGUE[name], folder_of(name)
    paths = [folder / file.name for file in published.files]
    missing = [path.name for path in paths if not path.exists()]
    if not missing:
        return paths
    command = f"Run 'napari-pml download {name}' ({published.megabytes} MB), or get"
    if published.restricted:
        command = f"Sign in at {published.page}, accept the licence, and get"
    raise WeightsError(
        f"The network {name!r} ({published.licence}) is not on this computer. {command} {' and '.join(missing)} from "
        f"{published.page} and put it into {folder}."
    )


def published(name: str) -> Published:
    """Return what is known of a network; WeightsError if there is none of that name."""
    if name not in CATALOGUE:
        raise WeightsError(f"There is no network {name!r} to download. There are {', '.join(CATALOGUE)}.")
    return CATALOGUE[name]


def download(name: str) -> list[Path]:
    """Fetch the files of a network, with a bar for each.

    Raises:
        WeightsError: there is no network of that name.
        DownloadError: they cannot be had.
    """
    return [fetch(file, folder_of(name), progress=True) for file in published(name).files]
