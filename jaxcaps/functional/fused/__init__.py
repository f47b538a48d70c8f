"""Votes and routing in one, for a CPU: no vote is ever stored. Layers choose these forms where they are faster."""

from jaxcaps.functional.fused.dynamic import fused_dynamic, fused_dynamic_fits
from jaxcaps.functional.fused.em import fused_em_fits, fused_em_patches

__all__ = ["fused_dynamic", "fused_dynamic_fits", "fused_em_fits", "fused_em_patches"]
