"""What to do next, in a sentence."""

from __future__ import annotations

from math import ceil

from napari_pml.viewer.control.controller import Controller
from napari_pml.viewer.jobs.progress import spoken


def hint(controller: Controller) -> str:
    """Return the sentence that helps a person on from here."""
    track = controller.track
    if track is None:
        return controller.problem or (
            "Open a video first: drop a file or a folder of images into the viewer, or try the demo clip."
        )
    if not track.is_drawn_on:
        return "Choose an object and paint a stroke on it. A few pixels are enough."
    if track.session is None and str(controller.work.problems):
        return "This is in the way; your strokes stay, and count as soon as it is mended:"
    if track.session is None:
        return "Getting ready: loading the network..."
    if controller.work.propagating:
        return "Go on painting if you like: the video follows."
    if not track.has_background:
        return "Now choose Background and paint a stroke beside the object."
    if track.frames_done < len(track.session.video):
        return "Add strokes where the mask is wrong, or propagate to the whole video."
    return "Done. A stroke on any frame corrects the whole video: propagate again afterwards."


def status(controller: Controller) -> str:
    """Return which network runs where, what it takes for frames that it has not seen, and whether it looks at them."""
    session = controller.track and controller.track.session
    if not session:
        return ""
    device = {"cpu": "CPU", "cuda": "GPU", "mps": "Apple GPU"}.get(session.device.type, session.device.type)
    text = f"{device}, {session.embedder.name}"
    seconds = session.embeddings.seconds
    if seconds is not None and session.uses_embeddings and (n := session.embeddings.n_missing):
        rest = f"{spoken(ceil(seconds * n))} for the {n} still to be looked at"
        text += f": looking at a frame takes {seconds:.2g} s, {rest}"
    prepared = controller.work.preparation.progress
    return f"{text}; preparing frames: {prepared[0]} of {prepared[1]}" if prepared else text
