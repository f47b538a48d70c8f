"""The kinds of `--source`, one module each. To add a kind, add a module that defines `SOURCE`."""

from data_prep.registry import Registry
from data_prep.sources.listing import Source

SOURCES: Registry[Source] = Registry("data_prep.sources", "SOURCE", what="kind of source")
