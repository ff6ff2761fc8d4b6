import pytest

from napari_pml.errors import SettingsError
from napari_pml.methods.config import parse_config
from napari_pml.methods.pml.pml import PmlConfig
from napari_pml.methods.registry import METHODS


def test_a_method_without_changes_stays_what_it_is():
    assert parse_config(METHODS["pml-paper"], []) == METHODS["pml-paper"]


def test_values_are_read_by_their_type():
    entries = ["k=7", "temperature=0.1", "votes=hard", "adaptation=False", "refine=none", "context_frames = 0"]
    expected = PmlConfig(k=7, temperature=0.1, votes="hard", adaptation=False, refine="none", context_frames=0)
    assert parse_config(METHODS["pml"], entries) == expected


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("k", "expected KEY=VALUE"),
        ("neighbours=5", "There is no setting 'neighbours'. There are refine, k, k_strokes, votes"),
        ("k=many", "expected a whole number from 1 to 50"),
        ("k=2.5", "expected a whole number"),
        ("k=0", "from 1 to 50"),
        ("temperature=nan", "expected a number from 0.005 to 1.0"),
        ("votes=loud", "expected balanced or soft or hard"),
        ("adaptation=1", "expected true or false"),
    ],
)
def test_mistakes_are_explained(entry, says):
    with pytest.raises(SettingsError, match=says):
        parse_config(METHODS["pml"], [entry])
