"""Values in memory, of which those used last stay."""

from napari_pml.recent import Recent


def test_what_was_used_last_stays():
    recent = Recent(max_bytes=3, size=len)
    for key in "abc":
        recent.put(key, "x")
    assert recent.get("a") == "x"
    recent.put("d", "x")
    assert list(recent) == ["c", "a", "d"]
    assert recent.n_bytes == 3
    assert recent.get("b") is None


def test_a_value_that_is_replaced_counts_once():
    recent = Recent(max_bytes=10, size=len)
    recent.put("a", "xxxx")
    recent.put("a", "xx")
    assert (len(recent), recent.n_bytes) == (1, 2)
    assert recent.pop("a") == "xx"
    assert (len(recent), recent.n_bytes) == (0, 0)


def test_some_stay_however_large_they_are():
    recent = Recent(max_bytes=0, size=len, at_least=2)
    for key in "abc":
        recent.put(key, "xxx")
    assert list(recent) == ["b", "c"]
    recent.clear()
    assert recent.n_bytes == 0
