"""Everything that is tuned to a CPU, and the one switch that chooses it.

`choose` takes two forms of one function: a plain one, and one that is faster on a CPU. The program gets the tuned form
where it is lowered for a CPU, and the plain form for every other platform. `JAXCAPS_CPU_KERNELS=0` in the environment
gives the plain form everywhere.

- `dispatch`: `choose`
- `tiling`: how many examples are computed at a time
- `convolution`: gradients of convolutions
- `dynamic`, `em`: votes and routing in one, so that no vote is stored
- `normalisation`: group normalisation
- `fence`: keeps XLA from merging what is faster apart
"""

from jaxcaps.functional.cpu.dispatch import choose, tuned_forms_fit

__all__ = ["choose", "tuned_forms_fit"]
