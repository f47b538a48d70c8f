"""Computes the sizes of a network's feature maps."""

from dataclasses import replace
from typing import NamedTuple

from jaxcaps.config import DecoderStage, ModelConfig, StemStage
from jaxcaps.errors import UserError

BASE_STAGES = 5


class Geometry(NamedTuple):
    """A stem adapted to `extra_convs` and a picture size.

    Attributes:
        stages: convolutions of the stem, with adjusted padding.
        maps: (side, width) of each stage's input, starting with the picture, and of the primary capsules' input.
        primary_padding: adjusted padding of the primary capsules' convolution.
        grid: side of the square grid of primary capsules.
        decoder: stages of the decoder, with `stage` renumbered as an index into `maps`.
    """

    stages: tuple[StemStage, ...]
    maps: tuple[tuple[int, int], ...]
    primary_padding: int
    grid: int
    decoder: tuple[DecoderStage, ...]


def convolved(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """The side of a convolution's output."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def geometry(model: ModelConfig, image_size: int) -> Geometry:
    """Adapts the stem to `extra_convs` and keeps the capsule grid of the five base stages.

    Above five, 3x3 stages of stride 1 with the last width are added. Below five, stages that keep the side (stride 1,
    no pooling) are dropped, starting with the last. The next convolution then crops the border that the dropped stage
    consumed, by negative padding.

    Raises:
        UserError: the stem does not have five base stages or has too few to drop, or the picture is too small.
    """
    if len(model.stages) != BASE_STAGES:
        raise UserError(f"model.stages: expected {BASE_STAGES} stages, found {len(model.stages)}; see --extra-convs")
    kept = list(range(BASE_STAGES))
    halving = [stage.stride > 1 or stage.pooled for stage in model.stages]
    droppable = [index for index in reversed(kept) if not halving[index] and index > 0]
    dropped = droppable[: max(0, BASE_STAGES - model.extra_convs)]
    if BASE_STAGES - len(dropped) > model.extra_convs:
        raise UserError(
            f"--extra-convs={model.extra_convs}: only {len(droppable)} stages of this stem can be dropped; give a "
            "larger number"
        )

    stages: list[StemStage] = []
    kept = [index for index in kept if index not in dropped]
    crop = 0
    for index, stage in enumerate(model.stages):
        if index in dropped:
            crop += (stage.kernel - 1) // 2 - stage.padding
        else:
            stages.append(_cropped(stage, crop))
            crop = 0
    last_width = model.stages[-1].width
    stages += [StemStage(last_width)] * (model.extra_convs - BASE_STAGES)
    primary_padding = model.primary_padding - crop

    maps: list[tuple[int, int]] = [(image_size, model.channels)]
    for stage in stages:
        maps.append((_stage_side(stage, maps[-1][0]), stage.width))
    grid = convolved(maps[-1][0], model.primary_kernel, model.primary_stride, primary_padding)
    if grid < 1 or any(side < 1 for side, _ in maps):
        raise UserError(
            f"--image-size={image_size} is too small for this stem: its feature maps vanish; give a larger size"
        )
    # Base stage k is now stage kept.index(k). The primary capsules' input comes after the added stages.
    positions = {base: new for new, base in enumerate(kept)} | {BASE_STAGES: len(stages)}
    decoder = tuple(replace(stage, stage=positions[stage.stage]) for stage in model.decoder if stage.stage in positions)
    return Geometry(tuple(stages), tuple(maps), primary_padding, grid, decoder)


def primary_capsules(model: ModelConfig, image_size: int) -> int:
    """Returns the number of primary capsules: all types at all positions of the grid."""
    return geometry(model, image_size).grid ** 2 * model.primary_types


def _cropped(stage: StemStage, crop: int) -> StemStage:
    branches = tuple(replace(branch, padding=branch.padding - crop) for branch in stage.branches)
    return replace(stage, padding=stage.padding - crop, branches=branches)


def _stage_side(stage: StemStage, size: int) -> int:
    if stage.pooled:
        size //= 2
    if not stage.branches:
        return convolved(size, stage.kernel, stage.stride, stage.padding)
    sides = {convolved(size, b.kernel, stage.stride, b.padding, b.dilation) for b in stage.branches}
    if len(sides) != 1:
        raise UserError(f"the branches of a stem stage have output sides {sorted(sides)} for {size}; make them equal")
    return sides.pop()
