from napari_pml.viewer.jobs.progress import Learning, curve


def test_a_learning_curve_falls_from_the_highest_bar_to_the_lowest():
    drawn = curve(list(range(100, 0, -1)))
    assert len(drawn) == 24
    assert (drawn[0], drawn[-1]) == ("█", "▁")
    assert list(drawn) == sorted(drawn, reverse=True)
    assert (curve([]), curve([0.0, 0.0])) == ("", "▁▁")


def test_learning_is_told_in_steps():
    learning = Learning(200)
    assert str(learning) == "learning, step 0 of 200"
    learning.done, learning.losses = 2, [0.5, 0.25]
    assert str(learning) == "learning, step 2 of 200 █▅ 0.250"
