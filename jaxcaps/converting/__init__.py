"""The table of the forms in which PyTorch networks of Sabour's architecture name and arrange their parameters.

To add one, add a file `<name>.py` that defines `LAYOUT`, a `Layout`. It is recognised by its names.
"""

from data_prep.registry import Registry
from jaxcaps.converting.base import Layout

LAYOUTS: Registry[Layout] = Registry(__name__, "LAYOUT", what="layout")
