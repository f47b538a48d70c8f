"""The encoder of one run as the start of another, strictly: nothing is taken or left without saying so."""

from pathlib import Path
from typing import NamedTuple

from jaxcaps.errors import UserError
from jaxcaps.training.state import Parameters

ENCODER = "encoder/"
LATENT, CLASS = "latent_capsules/", "class_capsules/"
# What a run holds beside its encoder, and a classifier has no use for.
UNUSED = ("latent_capsules/", "class_capsules/", "projection/", "decoder/", "norm_scale", "term_weights/", "predictor/")


class Transfer(NamedTuple):
    """Attributes:
    parameters: the new network's, those of the encoder replaced.
    account: a line a parameter: `+` taken, `-` left as initialised, `.` restored but not used.
    """

    parameters: Parameters
    account: list[str]


def transfer(restored: Parameters, new: Parameters, *, latent: bool, origin: Path) -> Transfer:
    """Puts the restored encoder (and, with `latent`, the latent capsules as class capsules) into a new network.

    Raises:
        UserError: the two encoders differ in a name, a shape or a dtype, or something restored is unknown; both
            lists are given.
    """
    sources = {path: path for path in restored if path.startswith(ENCODER)}
    if latent:
        sources |= {CLASS + path.removeprefix(LATENT): path for path in restored if path.startswith(LATENT)}
    wanted = {path for path in new if path.startswith(ENCODER) or (latent and path.startswith(CLASS))}
    unknown = [path for path in restored if not path.startswith((ENCODER, *UNUSED))]
    problems = [f"  only in {origin}: {_described(restored, sources[path])}" for path in sorted(set(sources) - wanted)]
    problems += [f"  only in the new network: {_described(new, path)}" for path in sorted(wanted - set(sources))]
    problems += [f"  unknown in {origin}: {_described(restored, path)}" for path in unknown]
    problems += [
        f"  differs: {_described(restored, sources[path])} in {origin}, {_described(new, path)} in the new network"
        for path in sorted(wanted & set(sources))
        if _kind(restored[sources[path]]) != _kind(new[path])
    ]
    if problems:
        hint = "; --transfer-latent needs as many --ssl-capsules as classes" if latent else ""
        raise UserError(
            f"--restore={origin}: its encoder is of another architecture{hint}. Leave --preset and the flags of the "
            f"network away to take the architecture from there.\n" + "\n".join(problems)
        )
    used = set(sources.values())
    account = [f"+ {_described(restored, source)}" + (f" -> {path}" if source != path else "")
               for path, source in sorted(sources.items())]  # fmt: skip
    account += [f"- {_described(new, path)}" for path in sorted(set(new) - wanted)]
    account += [f". {_described(restored, path)}" for path in sorted(set(restored) - used)]
    return Transfer(new | {path: restored[source] for path, source in sources.items()}, account)


def _kind(value: object) -> tuple[tuple[int, ...], str]:
    return tuple(value.shape), str(value.dtype)  # type: ignore[attr-defined]


def _described(parameters: Parameters, path: str) -> str:
    shape, dtype = _kind(parameters[path])
    return f"{path} {dtype}{list(shape)}"
