"""Compares the couplings of all routings on the same votes: `python -m benchmarks.couplings`.

Twenty-four input capsules vote for three output capsules, in 4 dimensions. Capsules 0 to 9 agree on the pose of the
first output capsule and 10 to 19 on that of the second, with votes of standard deviation 0.3. All other votes are
random with standard deviation 1. Learned parameters have their initial values, except for self-routing, whose gates are
set to what training would have to find. Input activations, for routings that need them, are 1.

Writes `docs/explanation/figures/couplings-NAME.png` and prints the table of `docs/explanation/routing.md`: for each
number of iterations, the entropy of the couplings, and the mean coupling of the agreeing capsules with the output
capsule on which they agree.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from jaxcaps.functional import ROUTINGS, Routed, RoutingShape, coupling_entropy, routing_parameters

FOLDER = Path(__file__).parent.parent / "docs/explanation/figures"
IN, OUT, DIM = 24, 3, 4
ITERATIONS = (1, 2, 3, 4, 5)
AGREEING = ((slice(0, 10), 0), (slice(10, 20), 1))


def example_votes() -> np.ndarray:
    """Votes [in, out, dim]; each element has about unit variance."""
    generator = np.random.default_rng(0)
    votes = generator.standard_normal((IN, OUT, DIM))
    for members, out in AGREEING:
        centre = generator.standard_normal(DIM)
        centre *= DIM**0.5 / np.linalg.norm(centre)
        votes[members, out] = centre + 0.3 * votes[members, out]
    return votes


def route(name: str, votes: jax.Array, iterations: int | None) -> Routed:
    """The routing with the initial parameters of a layer.

    If poses are sums of votes, the votes are scaled as in a layer, so that random sums have a norm of about 1.
    """
    description = ROUTINGS[name]() if iterations is None else ROUTINGS[name](iterations=iterations)  # type: ignore[call-arg]
    specs = routing_parameters(description, RoutingShape(IN, OUT, DIM, DIM))
    parameters = {key: jnp.full(spec.shape, spec.initial) for key, spec in specs.items() if not callable(spec.initial)}
    if name == "self-routing":
        # Poses that encode the group of a capsule, and gates that decode it with a logit of 2.
        poses = np.zeros((IN, DIM), np.float32)
        for members, out in AGREEING:
            poses[members, out] = 1
        gates = jnp.broadcast_to(2 * jnp.eye(OUT, DIM), (IN, OUT, DIM))
        parameters |= {"in_poses": jnp.asarray(poses), "gate_weights": gates}
    if not getattr(description, "averages", False):
        votes = votes * OUT / (IN * DIM) ** 0.5
    activations = jnp.ones(IN) if "in_activations" in description.needs else None
    routed: Routed = description(votes, activations, **parameters)
    return routed


def with_remainder(name: str, couplings: np.ndarray) -> np.ndarray:
    """Couplings whose rows sum to 1: for leaky routing with an additional column for the leak, else unchanged."""
    if name != "leaky-dynamic":
        return couplings
    return np.concatenate([couplings, 1 - couplings.sum(axis=1, keepdims=True)], axis=1)


def found(couplings: np.ndarray) -> float:
    """The mean coupling of the agreeing capsules with the capsule on which they agree; 1 / 3 if undecided."""
    return float(np.mean([couplings[members, out].mean() for members, out in AGREEING]))


def measure(name: str) -> tuple[list[np.ndarray], list[float], list[float]]:
    """For each number of iterations (or the single pass): couplings, their entropy, and `found`."""
    votes = jnp.asarray(example_votes(), jnp.float32)
    numbers = ITERATIONS if hasattr(ROUTINGS[name], "iterations") else (None,)
    maps = [with_remainder(name, np.asarray(route(name, votes, number).couplings)) for number in numbers]
    entropies = [float(coupling_entropy(jnp.asarray(each))) for each in maps]
    return maps, entropies, [found(each) for each in maps]


def row(name: str, entropies: list[float], shares: list[float]) -> str:
    """A row of the table."""
    return f"| `{name}` | {', '.join(f'{each:.2f}' for each in entropies)} | {', '.join(f'{x:.2f}' for x in shares)} |"


def _draw_map(axis: Axes, couplings: np.ndarray, title: str) -> AxesImage:
    """A heat map of couplings [in, out]."""
    image = axis.imshow(couplings, vmin=0, vmax=1, aspect="auto", cmap="viridis")
    axis.set_title(title, fontsize=9)
    axis.set_xticks(range(couplings.shape[1]), ["0", "1", "2", "none"][: couplings.shape[1]])
    axis.set_xlabel("out capsule", fontsize=9)
    axis.set_yticks([])
    axis.tick_params(labelsize=9)
    for edge in (9.5, 19.5):
        axis.axhline(edge, color="white", linewidth=1.2)
    return image


def draw(name: str, maps: list[np.ndarray], entropies: list[float], shares: list[float]) -> Figure:
    """Heat maps of the couplings and, if there are several, curves of their entropy and `found`."""
    one_pass = len(maps) == 1
    figure = Figure(figsize=(3.4 if one_pass else 9.2, 3.2), layout="constrained")
    axes = figure.subplots(
        1, len(maps) if one_pass else len(maps) + 1, squeeze=False, width_ratios=[1] if one_pass else [1] * 5 + [1.3]
    )[0]
    for number, (axis, couplings) in enumerate(zip(axes, maps, strict=False), start=1):
        title = f"one pass\nentropy {entropies[0]:.2f}, found {shares[0]:.2f}" if one_pass else f"iteration {number}"
        image = _draw_map(axis, couplings, title)
    axes[0].set_yticks([4.5, 14.5, 21.5], ["0-9\nagree\non 0", "10-19\nagree\non 1", "20-23\nagree on\nnothing"])
    axes[0].set_ylabel("in capsule", fontsize=9)
    figure.colorbar(image, ax=axes[len(maps) - 1], fraction=0.1 if one_pass else 0.25, label="coupling")
    if not one_pass:
        axes[-1].plot(ITERATIONS, entropies, marker="o", label="entropy")
        axes[-1].plot(ITERATIONS, shares, marker="s", label="found")
        axes[-1].set_ylim(0, 1.05)
        axes[-1].set_xticks(ITERATIONS)
        axes[-1].set_xlabel("iteration", fontsize=9)
        axes[-1].tick_params(labelsize=9)
        figure.legend(*axes[-1].get_legend_handles_labels(), loc="upper right", fontsize=9, ncols=2)
    figure.suptitle(name, fontsize=11)
    return figure


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    print("| routing | entropy | found |\n|---|---|---|")
    for name in ROUTINGS:
        maps, entropies, shares = measure(name)
        draw(name, maps, entropies, shares).savefig(FOLDER / f"couplings-{name}.png", dpi=90)
        print(row(name, entropies, shares), flush=True)


if __name__ == "__main__":
    main()
