"""The one exception that is the user's to mend; `data_prep`, which knows nothing of jaxcaps, raises it too."""

from data_prep.errors import UserError

__all__ = ["UserError"]
