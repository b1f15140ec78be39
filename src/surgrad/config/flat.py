"""Nested settings as dotted paths, and what differs between several of them."""

from collections.abc import Mapping, Sequence
from typing import Any


def flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted keys; an empty dict inside stays a value.

    Args:
        tree: dicts of dicts of values.
        prefix: stands before every key.

    Example:
        >>> flattened({"seed": 0, "optim": {"lr": 0.1}})
        {'seed': 0, 'optim.lr': 0.1}
    """
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            found |= flattened(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def differing(trees: Sequence[Mapping[str, Any]], missing: Any = None) -> dict[str, list[Any]]:
    """The settings that are not the same in all trees, with their values by dotted path.

    Args:
        trees: dicts of dicts of values.
        missing: the value of a setting that a tree does not have.

    Returns:
        By dotted path, one value per tree, in the order of `trees`.

    Example:
        >>> differing([{"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}])
        {'a.c': [2, None]}
    """
    flat = [flattened(tree) for tree in trees]
    paths = dict.fromkeys(path for settings in flat for path in settings)
    rows = {path: [settings.get(path, missing) for settings in flat] for path in paths}
    return {path: values for path, values in rows.items() if any(value != values[0] for value in values)}
