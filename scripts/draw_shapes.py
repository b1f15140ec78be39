"""Draw every surrogate function at three widths into docs/shapes.png. Run: python scripts/draw_shapes.py [OUT]"""

import sys
from pathlib import Path

import torch
from matplotlib import colormaps
from matplotlib.figure import Figure

from surgrad.surrogates import SURROGATES

WIDTHS = (1.0, 0.5, 0.25)
COLUMNS = 4


def main(out: Path) -> None:
    rows = -(-len(SURROGATES) // COLUMNS)
    figure = Figure(figsize=(3 * COLUMNS, 2.3 * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, sharex=True).flatten()
    x = torch.linspace(-1.5, 1.5, 1201, dtype=torch.float64)
    for panel, (name, shape) in zip(axes, SURROGATES.items(), strict=False):
        for place, width in enumerate(WIDTHS):
            colour = colormaps["viridis"](0.15 + 0.35 * place)
            panel.plot(x, shape.slope(x, torch.tensor(width)), color=colour, lw=1.6, label=f"width {width:g}")
        panel.set_title(name, fontsize=10, fontweight="bold", loc="left")
        panel.spines[["top", "right"]].set_visible(False)
        panel.axvline(0, color="0.8", lw=0.8, zorder=0)
    axes[0].legend(frameon=False, fontsize=8)
    for panel in axes[len(SURROGATES) :]:
        panel.set_visible(False)
    for panel in axes[len(SURROGATES) - COLUMNS : len(SURROGATES)]:  # the lowest panel of each column
        panel.tick_params(labelbottom=True)
    figure.supxlabel("membrane potential minus threshold", fontsize=10)
    figure.supylabel("slope", fontsize=10)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "shapes.png")
