"""jaxcaps: capsule networks and their self-supervised pre-training, in JAX.

`__init__.pyi` lists the public names. They are imported at first use, so that `python -m jaxcaps.train --help` does not
wait for jax.
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
