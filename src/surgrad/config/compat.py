"""Recipes and settings of earlier releases, brought to today's layout.

Nothing here needs torch, so that reports can read any run.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any

CONTROLLERS = {
    "fixed": "fixed",
    "schedule": "schedule",
    "follow": "lsg",
    "steer": "esg",
    "search": "dspike",
    "compete": "dgs",
}
"""Old names of controllers, and today's. `follow` is the name of its rule."""

MOVED = {
    "neuron.shape": "surrogate.name",
    "neuron.width": "surrogate.width",
    "neuron.learn_width": "surrogate.learn",
    "neuron.first_width": "surrogate.first",
    "model.norm": "norm.name",
    "model.coding": "coding.name",
    "adapt.controller": "adapt.name",
    "adapt.rule": "adapt.name",
    "adapt.least": "adapt.min_half_width",
    "adapt.most": "adapt.max_half_width",
    "adapt.move": "adapt.delta",
    "adapt.count": "adapt.samples",
    "adapt.reliable": "adapt.min_reliability",
    "adapt.reach": "adapt.per_side",
    "adapt.lr": "adapt.weight_lr",
    "adapt.rate": "adapt.mixture_lr",
    "loss.tet_weight": "loss.weight",
    "loss.tet_target": "loss.target",
    "loss.penalty": "penalty.name",
    "loss.penalty_weight": "penalty.weight",
    "loss.penalty_inner": "penalty.inner",
    "loss.penalty_until": "penalty.until",
    "loss.penalty_ramp": "penalty.ramp",
    "optim.gradient": "gradient.name",
    "optim.gradient_steps": "gradient.steps",
    "optim.warmup": "schedule.warmup",
    "optim.period": "schedule.period",
    "optim.drops": "schedule.drops",
    "start.share": "progressive.fraction",
    "start.steps": "progressive.steps",
    "start.side": "progressive.image_size",
    "start.weights": "init_from",
}
"""Old paths of settings, and where they are today."""


def is_old(values: Mapping[str, Any]) -> bool:
    """Whether a recipe in its JSON form is of an earlier release."""
    return "format" not in values


def upgraded(values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe in its JSON form, in today's layout.

    Options that a part does not have, which earlier releases wrote for every part, are still there.

    Args:
        values: the JSON object, of this release or an earlier one; it is not changed.

    Returns:
        The same recipe with today's names and groups.
    """
    return _with_steps(_in_groups(values) if is_old(values) else dict(values))


def _with_steps(values: dict[str, Any]) -> dict[str, Any]:
    """The separate width of the first time step, which was a switch, as the number of steps with separate widths."""
    surrogate = values.get("surrogate")
    if not isinstance(surrogate, Mapping) or "first" not in surrogate:
        return values
    others = {key: value for key, value in surrogate.items() if key != "first"}
    return {**values, "surrogate": others | ({"steps": 2} if surrogate["first"] else {})}


def _in_groups(values: Mapping[str, Any]) -> dict[str, Any]:
    """An earlier release's recipe with today's groups."""
    new: dict[str, Any] = {}
    for key, value in values.items():
        if not isinstance(value, Mapping):
            new[key] = value
            continue
        for name, inner in value.items():
            _set(new, MOVED.get(f"{key}.{name}", f"{key}.{name}"), inner)
    for group, convert in _CONVERTED.items():
        held = values.get(group) if group == "adapt" else new.get(group)
        if isinstance(held, Mapping):
            new[group] = convert(held)
    return new


def _set(values: dict[str, Any], path: str, value: Any) -> None:
    group, _, name = path.rpartition(".")
    owner = values.setdefault(group, {}) if group else values
    if isinstance(owner, dict):  # else the file was altered, and what it has there stays
        owner[name] = value


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without the options that were none, which stood for the default."""
    return {key: value for key, value in values.items() if value is not None}


def _controller(old: Mapping[str, Any]) -> dict[str, Any]:
    given = _given(old)
    rule = given.pop("rule", None) or "lsg"
    name = controller_name(given.pop("controller", "follow"), rule)
    paths = {key: MOVED.get(f"adapt.{key}", f"adapt.{key}") for key in given}
    return {"name": name} | {paths[key].removeprefix("adapt."): value for key, value in given.items()}


def controller_name(old: str, rule: str = "lsg") -> str:
    """Today's name of a controller.

    Args:
        old: the name in an earlier release, or today's.
        rule: the rule of the controller that was called "follow", by which it is named today.
    """
    return rule if old == "follow" else CONTROLLERS.get(old, old)


def _schedule(old: Mapping[str, Any]) -> dict[str, Any]:
    given = _given(old)
    return {"name": "steps" if "drops" in given else "cosine", **given}


def _optimiser(old: Mapping[str, Any]) -> dict[str, Any]:
    """Adam's β1 was its momentum."""
    new = dict(old)
    if new.get("name") in ("adam", "adamw") and "momentum" in new:
        new["beta1"] = new.pop("momentum")
    return new


def _penalty(old: Mapping[str, Any]) -> dict[str, Any]:
    return {**old, "name": old.get("name") or "none"}


def _neuron(old: Mapping[str, Any]) -> dict[str, Any]:
    """CLIF has its own reset, whatever the option said."""
    return {key: value for key, value in old.items() if (old.get("name"), key) != ("clif", "reset")}


_CONVERTED: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "neuron": _neuron,
    "adapt": _controller,
    "penalty": _penalty,
    "schedule": _schedule,
    "optim": _optimiser,
    "gradient": _given,
}


def moved(path: str, text: str) -> list[tuple[str, str]]:
    """Today's form of an assignment such as "loss.penalty=im_loss"; a changed path is reported on stderr.

    Args:
        path: the setting's path, of this release or an earlier one.
        text: the value as a text.

    Returns:
        Pairs of today's path and text, to be set in this order.
    """
    if path not in MOVED and path != "surrogate.first":
        return [(path, text)]
    new = MOVED.get(path, path)
    if new == "surrogate.first":
        new, text = "surrogate.steps", "2" if text.lower() == "true" else "1"
    value = controller_name(text) if path == "adapt.controller" else text
    value = "none" if new == "penalty.name" and text.lower() == "none" else value
    print(f"surgrad: {path} is now {new}: --set {new}={value}", file=sys.stderr)
    return [("schedule.name", "steps"), (new, value)] if new == "schedule.drops" else [(new, value)]
