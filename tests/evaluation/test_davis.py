import numpy as np
import pytest
from PIL import Image

from napari_pml.errors import DatasetError
from napari_pml.evaluation.davis import find_sequences, select_sequences


def write(root, name, n=3, resolution="480p", value=1):
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        folder = root / kind / resolution / name
        folder.mkdir(parents=True)
        for t in range(n):
            Image.fromarray(np.full((4, 6), value, np.uint8)).save(folder / f"{t}.{suffix}")


def test_frames_are_in_the_order_in_which_videos_are_read(tmp_path):
    write(tmp_path, "long", n=11)
    (tmp_path / "JPEGImages/480p/long/.hidden.jpg").touch()
    (sequence,) = find_sequences(tmp_path)
    assert (
        [path.stem for path in sequence.frames] == [path.stem for path in sequence.masks] == list(map(str, range(11)))
    )


def test_masks_in_black_and_white_show_one_object(tmp_path):
    write(tmp_path, "bear", value=255)
    assert set(np.unique(find_sequences(tmp_path)[0].mask(0))) == {1}


def test_the_usual_resolution_counts_unless_another_is_asked_for(tmp_path):
    for resolution in ("1080p", "480p"):
        write(tmp_path, "bear", resolution=resolution)
    assert find_sequences(tmp_path)[0].frames[0].parts[-3] == "480p"
    assert find_sequences(tmp_path, "1080p")[0].masks[0].parts[-3] == "1080p"
    with pytest.raises(DatasetError, match="JPEGImages/720p"):
        find_sequences(tmp_path, "720p")


def test_of_unusual_resolutions_one_must_be_named(tmp_path):
    write(tmp_path, "bear", resolution="half")
    assert len(find_sequences(tmp_path)) == 1
    write(tmp_path, "bear", resolution="whole")
    with pytest.raises(DatasetError, match="several resolutions: half, whole"):
        find_sequences(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, ["bear", "bus", "cow"]),
        ("cow", ["cow"]),
        ("cow, bear", ["bear", "cow"]),
        ("bus\ncow\n", ["bus", "cow"]),
        ("/JPEGImages/480p/bus/0.jpg /Annotations/480p/bus/0.png\n" * 2, ["bus"]),
    ],
)
def test_sequences_are_chosen_by_name_or_by_the_lists_of_davis(tmp_path, text, expected):
    for name in ("bear", "bus", "cow"):
        write(tmp_path, name)
    wanted = [text] if text else []
    if text and "\n" in text:
        (tmp_path / "val.txt").write_text(text)
        wanted = [str(tmp_path / "val.txt")]
    assert [sequence.name for sequence in select_sequences(find_sequences(tmp_path), wanted)] == expected


def test_unknown_sequences_are_named(tmp_path):
    write(tmp_path, "bear")
    with pytest.raises(DatasetError, match=r"no sequence 'bee' in the dataset\. There are bear"):
        select_sequences(find_sequences(tmp_path), ["bear", "bee"])
    with pytest.raises(DatasetError, match=r"list of sequences gone\.txt"):
        select_sequences(find_sequences(tmp_path), ["gone.txt"])
