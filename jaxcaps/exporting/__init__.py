"""The table of formats in which a run leaves jaxcaps: one file per format, found by its name.

To add a format, add a file `<name>.py` that defines `FORMAT`, a `Format` or a `RunFormat`.
`python -m jaxcaps.export --to=<name>` then writes it.
"""

from data_prep.registry import Registry
from jaxcaps.exporting.base import Format, RunFormat

FORMATS: Registry[Format | RunFormat] = Registry(__name__, "FORMAT", what="format")
