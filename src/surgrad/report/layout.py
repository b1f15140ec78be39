"""Recipes of older run folders, in the present layout."""

from typing import Any

MOVED = {
    "neuron.shape": "surrogate.name",
    "neuron.width": "surrogate.width",
    "neuron.learn_width": "surrogate.learn",
    "neuron.first_width": "surrogate.first",
    "adapt.controller": "adapt.name",
    "model.norm": "norm.name",
    "model.summand_alpha": "norm.summand_alpha",
    "model.coding": "coding.name",
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
CONTROLLERS = {"steer": "esg", "search": "dspike", "compete": "dgs"}


def upgraded(values: dict[str, Any]) -> dict[str, Any]:
    """A recipe (of JSON) in the present layout. What is in it already, and what is unknown, stays where it is."""
    new: dict[str, Any] = {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}
    for old, path in MOVED.items():
        part, _, key = old.partition(".")
        if isinstance(new.get(part), dict) and key in new[part]:
            _put(new, path, new[part].pop(key))
            if not new[part]:
                del new[part]
    adapt = new.get("adapt")
    if isinstance(adapt, dict):
        rule = adapt.pop("rule", None) or "lsg"
        name = adapt.get("name")
        adapt["name"] = rule if name == "follow" else CONTROLLERS.get(str(name), name)
    return new


def _put(values: dict[str, Any], path: str, value: Any) -> None:
    part, _, key = path.rpartition(".")
    owner = values.setdefault(part, {}) if part else values
    if isinstance(owner, dict):
        owner.setdefault(key, value)
