"""Errors that the user can correct. `data_prep`, which does not depend on jaxcaps, raises them too."""

from data_prep.errors import UserError, nearest

__all__ = ["UnsuitableTask", "UserError", "nearest"]


class UnsuitableTask(UserError):
    """The data does not suit this task. Other tasks may work."""
