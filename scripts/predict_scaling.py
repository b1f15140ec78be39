"""Predict the training step of many GPUs from that of one: the tables of docs/scaling.md.

    python scripts/predict_scaling.py

Nothing here is measured but the step of one GPU; every assumption is a constant below.
"""

from dataclasses import dataclass

NODE = 8  # GPUs
BANDWIDTH = {1: 250e9, 8: 100e9, 64: 100e9}
"""Bytes a second that an exchange of some 50 MB moves through each GPU, by the number of nodes from which it holds."""
LATENCY = {1: 20e-6, 8: 50e-6, 64: 80e-6}
"""Seconds of an exchange of a few kB, likewise."""
COUNTS = (1, 8, 64, 512)


@dataclass(frozen=True)
class Network:
    """A network at a batch for each GPU.

    Attributes:
        name: in the table.
        batch: images of each GPU.
        parameters: of the network.
        norms: the number of its norms.
        channels: of all norms together.
        device: seconds of a step on one GPU, without the host.
        host: seconds in which the host starts all kernels of a step, without a CUDA graph.
    """

    name: str
    batch: int
    parameters: float
    norms: int
    channels: int
    device: float
    host: float


NETWORKS = (
    Network("ResNet-19, T=4, batch 128", 128, 12.7e6, 19, 5248, 15.8e-3, 39.9e-3),
    # by multiplications: 14.3 G an image, at the rate of ResNet-19 (9.1 G); by layers: 36 norms against 19
    Network("SEW-ResNet-34, T=4, 224×224, batch 32", 32, 21.8e6, 36, 8512, 15.8e-3 * 14.3 / 9.1 / 4, 39.9e-3 * 36 / 19),
)


def of_nodes(values: dict[int, float], gpus: int) -> float:
    """The value for that many GPUs."""
    nodes = max(1, gpus // NODE)
    return values[max(least for least in values if least <= nodes)]


def gradient_seconds(network: Network, gpus: int) -> float:
    """A ring moves the fp32 gradient 2(N-1)/N times through each GPU."""
    moved = 2 * (gpus - 1) / gpus * 4 * network.parameters
    return moved / of_nodes(BANDWIDTH, gpus) if gpus > 1 else 0.0


def norm_seconds(network: Network, gpus: int) -> float:
    """Two small exchanges for each norm, and one for the results."""
    return (2 * network.norms + 1) * of_nodes(LATENCY, gpus) if gpus > 1 else 0.0


def row(network: Network, gpus: int) -> list[str]:
    """GPUs; exchanges; steps as the code is, which has a graph on one GPU alone, and as a graph on all, with shared
    norms and with each GPU's own."""
    gradient, norms = gradient_seconds(network, gpus), norm_seconds(network, gpus)
    eager = max(network.host, network.device + gradient + norms) if gpus > 1 else network.device
    graph = network.device + gradient + norms
    own = network.device + gradient
    steps = (eager, graph, own)
    found = [f"{1e3 * s:.1f} ms, {network.device / s:.0%}" for s in steps]
    return [
        f"{gpus}",
        f"{1e3 * gradient:.2f} ms",
        f"{1e3 * norms:.2f} ms",
        *found,
        f"{gpus * network.batch / eager:,.0f}",
    ]


def main() -> None:
    """Print the tables."""
    head = ["GPUs", "gradient", "norms", "as it is", "as a graph", "as a graph, own norms", "images/s as it is"]
    for network in NETWORKS:
        gradient, rows = 4e-6 * network.parameters, 0.048 * network.channels
        print(f"### {network.name}: {gradient:.0f} MB of gradient, {rows:.0f} kB of norms\n")
        print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
        for gpus in COUNTS:
            print(f"| {' | '.join(row(network, gpus))} |")
        print()


if __name__ == "__main__":
    main()
