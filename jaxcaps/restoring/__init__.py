"""What `--restore` names: the folder of a run, a run as one file, or parameters with a header.

`find_origin` is the one place that tells these apart. This package does not import jax.
"""

from jaxcaps.restoring.origin import Origin, find_origin, published

__all__ = ["Origin", "find_origin", "published"]
