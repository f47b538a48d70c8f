"""The training engine. `train(config, callbacks=...)` is one run from its configuration to its results."""

import lazy_loader

# Imported at first use: other modules of this package are used without the loop.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
