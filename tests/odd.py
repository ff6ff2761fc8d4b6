"""What people and broken disks hand over: odd arrays and damaged files, drawn by hypothesis."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

NUMBERS = ["?", "u1", "i1", "u2", "i2", "u4", "i8", "u8", "f2", "f4", "f8"]
ANYTHING = [*NUMBERS, "g", "c8", "O", "U3", "M8[s]", "m8[s]"]

SPECIAL = [0, 1, -1, 65535, 65536, 1e9, 1e30, 1e300, 1e-40, 1e-310, np.inf, -np.inf, np.nan]


def shapes(min_dims: int = 0, max_dims: int = 5) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes with sides from 0 to 9."""
    return npst.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=0, max_side=9)


@st.composite
def arrays(draw, shape, dtypes=ANYTHING) -> np.ndarray:
    """Noise around a level, of any scale, with some special values strewn in."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    size = draw(shape) if isinstance(shape, st.SearchStrategy) else shape
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    values = draw(st.sampled_from(SPECIAL)) + rng.normal(size=size) * draw(st.sampled_from([0, 1e-3, 1, 200, 1e30]))
    values = np.where(rng.random(size) < draw(st.sampled_from([0, 0.1, 1])), draw(st.sampled_from(SPECIAL)), values)
    if dtype.kind in "Mm":
        return np.zeros(size, "i8").astype(dtype)
    with np.errstate(all="ignore"):
        return np.asarray(values).astype(dtype)


@st.composite
def damaged(draw, whole: bytes) -> bytes:
    """A file that is cut off, has flipped bits, or holes, or junk in it."""
    content = bytearray(whole)
    place = draw(st.integers(0, len(content) - 1))
    how = draw(st.sampled_from(["cut", "flip", "hole", "junk", "insert"]))
    if how == "cut":
        return bytes(content[:place])
    if how == "flip":
        for at in draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
            content[at] ^= 1 << draw(st.integers(0, 7))
        return bytes(content)
    patch = bytes(draw(st.integers(1, 99))) if how == "hole" else draw(st.binary(min_size=1, max_size=30))
    content[place : place if how == "insert" else place + len(patch)] = patch
    return bytes(content)


def says_what_to_do(error: Exception) -> None:
    """Check that the message of an error is whole sentences, of which the last is advice or a question."""
    assert str(error)[-1] in ".?", error
