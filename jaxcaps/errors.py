"""The exceptions that are the user's to mend. `data_prep`, which knows nothing of jaxcaps, raises them too."""

from data_prep.errors import UserError, nearest

__all__ = ["UnsuitableTask", "UserError", "nearest"]


class UnsuitableTask(UserError):
    """The task has nothing to learn from this data; others may."""
