"""Settings as dotted paths, and what differs between recipes."""

from surgrad.config.flat import differing, flattened


def test_nested_settings_become_dotted_paths():
    assert flattened({"a": {"b": {"c": 1}, "d": {}}, "e": [2]}) == {"a.b.c": 1, "a.d": {}, "e": [2]}


def test_only_what_differs_is_listed_with_a_value_for_each():
    trees = [{"a": {"b": 1, "c": 2}}, {"a": {"b": 1}, "d": [3]}, {"a": {"b": 1.0, "c": 2}}]
    assert differing(trees, "missing") == {"a.c": [2, "missing", 2], "d": ["missing", [3], "missing"]}
    assert differing(trees[:1]) == differing([]) == {}
