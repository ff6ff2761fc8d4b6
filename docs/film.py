"""Makes docs/images/strokes.gif: strokes on the first frame of two real videos, and the masks of all frames.

    python docs/film.py DATA

DATA holds clips/dog-sam2.mp4 (SAM 2's demo gallery, Apache-2.0) and cells/t98g (Usiigaci, MIT). Every mask comes from
the strokes that are shown.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from napari_pml import BACKGROUND, Session, open_video
from napari_pml.io.overlay import overlay_frame
from napari_pml.types import Labels

OUT = Path(__file__).resolve().parent / "images" / "strokes.gif"
COLOURS = 96  # of the palette
HOLD = 900  # milliseconds for which strokes, and the last frame, are shown
STEP = 90  # milliseconds of all other frames


@dataclass(frozen=True)
class Scene:
    """A video, at the size at which it is segmented and shown, and strokes on its first frame.

    Attributes:
        source: path below DATA.
        frames: which are taken.
        box: (left, top, right, bottom) in pixels of the source.
        size: (width, height) of a frame.
        strokes: (label, width, points) each, points (x, y) in pixels of a frame.
    """

    source: str
    frames: range
    box: tuple[int, int, int, int]
    size: tuple[int, int]
    strokes: tuple[tuple[int, int, tuple[tuple[int, int], ...]], ...]


DOG = Scene(
    "clips/dog-sam2.mp4",
    range(0, 84, 3),
    (0, 0, 1280, 720),
    (640, 360),
    (
        (1, 5, ((170, 150), (150, 165), (150, 190), (165, 230))),
        (1, 4, ((200, 120), (206, 150))),
        (1, 4, ((190, 264), (206, 264))),
        (2, 5, ((270, 205), (330, 215), (328, 255))),
        (BACKGROUND, 5, ((250, 290), (400, 290))),
    ),
)
CELLS = Scene(
    "cells/t98g/JPEGImages/480p/T98G",
    range(0, 10),
    (520, 470, 920, 870),
    (360, 360),
    tuple(
        (n, 4, tuple((round((x - 520) * 0.9), round((y - 470) * 0.9)) for x, y in points))
        for n, points in enumerate(
            (
                ((690, 520), (660, 560), (645, 605)),
                ((718, 550), (695, 605), (682, 635)),
                ((775, 600), (805, 620), (845, 612)),
                ((735, 635), (755, 660), (765, 695)),
                ((655, 692), (690, 672), (730, 690)),
                ((665, 720), (700, 748)),
                ((720, 725), (750, 745), (785, 755)),
                ((598, 720), (610, 750), (600, 795)),
                ((540, 620), (565, 635), (585, 665)),
                ((820, 790), (850, 750), (905, 765)),
            ),
            start=1,
        )
    ),
)


def frames_of(scene: Scene, data: Path) -> NDArray[np.uint8]:
    """Return the (T, H, W, 3) frames of a scene."""
    video = open_video(data / scene.source)
    frames = (Image.fromarray((video.rgb(t) * 255).astype(np.uint8)) for t in scene.frames)
    return np.stack([frame.crop(scene.box).resize(scene.size, Image.Resampling.LANCZOS) for frame in frames])


def paint(scene: Scene) -> Labels:
    """Return the strokes of a scene as an annotation."""
    image = Image.new("I", scene.size)
    for label, width, points in scene.strokes:
        ImageDraw.Draw(image).line(points, fill=label, width=width, joint="curve")
    return np.asarray(image).astype(np.uint16)


def film(scene: Scene, data: Path) -> list[tuple[Image.Image, int]]:
    """Return pictures, each with its time in milliseconds: the frame, strokes on it, and all masks."""
    frames, strokes = frames_of(scene, data), paint(scene)
    session = Session(open_video(frames))
    session.annotate(0, strokes)
    for _ in session.propagate():
        pass
    painted = frames[0].copy()
    objects = np.where(strokes == BACKGROUND, 0, strokes)
    painted[strokes == BACKGROUND] = 0
    shown = overlay_frame(painted / np.float32(255), objects)
    pictures = [(frames[0], HOLD), (shown, HOLD)]
    for t, frame in enumerate(frames):
        time = HOLD if t in (0, len(frames) - 1) else STEP
        pictures.append((overlay_frame(frame / np.float32(255), session.masks[t].labels), time))
    return [(Image.fromarray(picture), time) for picture, time in pictures]


def main() -> None:
    """Make the film."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()

    dog, cells = film(DOG, args.data), film(CELLS, args.data)
    cells += [cells[-1]] * (len(dog) - len(cells))
    pictures, times = [], []
    for (left, time), (right, _) in zip(dog, cells, strict=False):
        both = Image.new("RGB", (left.width + right.width, left.height))
        both.paste(left, (0, 0))
        both.paste(right, (left.width, 0))
        pictures.append(both.resize((both.width * 4 // 5, both.height * 4 // 5), Image.Resampling.LANCZOS))
        times.append(time)
    palette = pictures[len(pictures) // 2].quantize(COLOURS)
    first, *rest = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures)
    first.save(args.out, save_all=True, append_images=rest, duration=times, loop=0, optimize=True)


if __name__ == "__main__":
    main()
