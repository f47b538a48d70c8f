"""The exceptions that are the user's to mend; `data_prep`, which knows nothing of jaxcaps, raises the first too."""

from data_prep.errors import UserError

__all__ = ["UnsuitableTask", "UserError"]


class UnsuitableTask(UserError):
    """The task has nothing to learn from this data; others may."""
