"""A short clip with exact masks, made from photographs that come with scikit-image: nothing is downloaded.

At a launch pad at dusk an astronaut comes nearer, a cup of coffee flies past her, and a cat looks in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from skimage import data

from napari_pml.types import Labels

SUPERSAMPLING = 2
"""Frames are drawn this much larger and averaged down, for smooth edges."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Pose:
    """Where a photograph lies in a frame.

    Attributes:
        x: of its anchor, as a share of the frame's width.
        y: of its anchor, as a share of the frame's height.
        scale: height of the whole photograph, as a share of the height of a 4 : 3 frame.
        angle: clockwise, in degrees.
    """

    x: float
    y: float
    scale: float
    angle: float

    def towards(self, end: Pose, share: float) -> Pose:
        """Return the pose that lies a share 0..1 of the way to `end`."""
        return Pose(
            self.x + share * (end.x - self.x),
            self.y + share * (end.y - self.y),
            self.scale + share * (end.scale - self.scale),
            self.angle + share * (end.angle - self.angle),
        )


@dataclass(frozen=True)
class Actor:
    """A photograph, or what is cut out of it, on its way through the clip.

    Attributes:
        photo: name of the function in `skimage.data`.
        anchor: (x, y) in the photograph that the poses place, about which it turns.
        start: pose in the first frame.
        end: pose in the last frame.
        outline: (x, y) corners of what is cut out, in pixels of the photograph; empty: all of it.
    """

    photo: str
    anchor: Point
    start: Pose
    end: Pose
    outline: tuple[Point, ...] = ()


# fmt: off
BACKDROP = Actor("rocket", (320, 213), Pose(0.60, 0.50, 1.12, 0), Pose(0.44, 0.51, 1.20, 0))

ACTORS = (
    Actor("astronaut", (260, 512), Pose(0.28, 1.10, 0.76, -4), Pose(0.62, 1.12, 1.00, 5), (
        (230, 17), (250, 20), (270, 28), (285, 42), (295, 58), (299, 78), (297, 98), (290, 115), (280, 127),
        (268, 136), (264, 150), (258, 165), (257, 176), (272, 184), (287, 200), (298, 220), (303, 236),
        (318, 243), (332, 255), (341, 268), (347, 282), (353, 305), (358, 325), (361, 346), (375, 345),
        (400, 345), (420, 349), (440, 357), (458, 371), (472, 388), (483, 408), (490, 428), (495, 452),
        (500, 470), (500, 512), (37, 512), (28, 480), (25, 450), (22, 415), (21, 397), (27, 375), (27, 335),
        (36, 312), (40, 298), (47, 278), (57, 255), (71, 239), (91, 229), (111, 212), (117, 190),
        (122, 178), (128, 165), (137, 156), (150, 150), (165, 148), (182, 149), (180, 133), (172, 122),
        (165, 112), (158, 102), (155, 87), (154, 72), (158, 60), (166, 50), (178, 43), (190, 35), (200, 25),
        (212, 19),
    )),
    Actor("coffee", (278, 220), Pose(0.84, 0.62, 0.34, -25), Pose(0.17, 0.78, 0.46, 60), (
        (178, 75), (188, 62), (200, 48), (220, 33), (245, 24), (270, 19), (290, 19), (320, 24), (350, 35),
        (375, 50), (392, 68), (407, 69), (418, 71), (422, 76), (420, 88), (416, 102), (435, 118),
        (452, 140), (467, 168), (475, 195), (478, 220), (476, 250), (469, 280), (455, 310), (432, 338),
        (400, 362), (360, 378), (320, 386), (280, 387), (240, 382), (200, 370), (165, 352), (135, 330),
        (110, 300), (93, 270), (82, 235), (78, 200), (82, 170), (93, 142), (110, 118), (135, 95), (160, 81),
    )),
    Actor("chelsea", (215, 0), Pose(0.84, -0.05, 0.36, 6), Pose(0.15, -0.05, 0.32, -6), (
        (50, 0), (395, 0), (385, 25), (368, 55), (352, 75), (357, 100), (362, 125), (359, 150), (351, 170),
        (339, 195), (324, 215), (315, 240), (307, 262), (290, 270), (256, 275), (235, 275), (200, 274),
        (170, 268), (149, 255), (145, 235), (151, 215), (147, 198), (125, 188), (100, 180), (75, 172),
        (55, 160), (45, 140), (40, 120), (35, 100), (33, 75), (34, 45), (39, 20),
    )),
)
# fmt: on


def make_clip(
    n_frames: int = 40, height: int = 240, width: int = 320, n_objects: int = 1
) -> tuple[NDArray[np.uint8], Labels]:
    """Draw the clip; the same arguments always give the same pixels.

    Args:
        n_frames: T; the same motion is shown in more or fewer steps.
        height: of a frame, in pixels.
        width: of a frame, in pixels.
        n_objects: 1 the astronaut, 2 also the cup, 3 also the cat; the later ones pass in front.

    Returns:
        frames: (T, H, W, 3) uint8 RGB.
        masks: (T, H, W) uint16; 0 = background, i = the i-th object where it is more than half opaque.
    """
    actors = (BACKDROP, *ACTORS[:n_objects])
    cutouts = [_cut_out(actor) for actor in actors]
    frames = np.empty((n_frames, height, width, 3), np.uint8)
    masks = np.zeros((n_frames, height, width), np.uint16)
    for t in range(n_frames):
        picture = Image.new("RGBA", (width, height))
        for object_id, (actor, cutout) in enumerate(zip(actors, cutouts, strict=True)):
            pose = actor.start.towards(actor.end, t / max(1, n_frames - 1))
            layer = _place(cutout, actor.anchor, pose, (width, height))
            picture.alpha_composite(layer)
            masks[t][np.asarray(layer.getchannel("A")) > 127] = object_id
        frames[t] = np.asarray(picture)[..., :3]
    return frames, masks


def _cut_out(actor: Actor) -> Image.Image:
    """Return the actor's photograph, transparent outside of its outline, with a soft edge inside."""
    photo = Image.fromarray(getattr(data, actor.photo)()).convert("RGBA")
    if actor.outline:
        # With a margin, so that the edge stays hard where the outline meets the border of the photograph.
        margin = 8
        alpha = Image.new("L", (photo.width + 2 * margin, photo.height + 2 * margin))
        ImageDraw.Draw(alpha).polygon([(x + margin, y + margin) for x, y in actor.outline], fill=255)
        blurred = np.asarray(alpha.filter(ImageFilter.GaussianBlur(2)), dtype=np.int16)
        inside = Image.fromarray(np.clip(2 * blurred - 255, 0, 255).astype(np.uint8))
        photo.putalpha(inside.crop((margin, margin, margin + photo.width, margin + photo.height)))
    return photo


def _place(cutout: Image.Image, anchor: Point, pose: Pose, size: tuple[int, int]) -> Image.Image:
    """Return a layer of (width, height) pixels with the cut-out in its pose."""
    width, height = size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING
    step = cutout.height / (pose.scale * max(height, 0.75 * width))  # photograph's pixels per layer's pixel
    along, across = step * np.cos(np.radians(pose.angle)), step * np.sin(np.radians(pose.angle))
    x, y = pose.x * width, pose.y * height
    photo_from_layer = (
        along, across, anchor[0] - along * x - across * y,
        -across, along, anchor[1] + across * x - along * y,
    )  # fmt: skip
    layer = cutout.transform((width, height), Image.Transform.AFFINE, photo_from_layer, Image.Resampling.BILINEAR)
    return layer.reduce(SUPERSAMPLING)
