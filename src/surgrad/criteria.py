"""Criteria for judging the layers of a network, shared by controllers, diagnoses and reports. Needs no torch."""

SILENT_RATE = 1e-3
"""A layer with a lower firing rate (spikes per neuron and time step) passes hardly any information on."""
NARROW_SHARE = 0.05
"""A layer where a smaller share of the potentials gets a gradient (χ) hardly learns."""
GOOD_SHARE = 0.3
"""χ*, the share of the potentials within the surrogate's equivalent half-width that the controller `share` keeps; a
diagnosis proposes the width for it."""
RELIABLE_COSINE = 0.3
"""Finite-difference gradients are trusted where those of the batch's two halves have at least this cosine."""
HISTOGRAM_REACH = 8
"""Histograms of potentials reach this number of thresholds to both sides of the threshold (`surgrad.kernels.lif`)."""

RENAMED_KINDS = {
    "starved": "blocked_upstream",
    "loud": "exploding_gradient",
    "vanishing": "vanishing_gradient",
    "exploding": "exploding_potential",
}
"""Kinds of findings (`surgrad.measure.Finding`) under the names that older run folders have in alarms.jsonl."""


def current_kind(kind: str) -> str:
    """The name that a kind of finding has now.

    >>> current_kind("loud"), current_kind("dead")
    ('exploding_gradient', 'dead')
    """
    return RENAMED_KINDS.get(kind, kind)
