"""The one exception that is the user's to mend."""


class UserError(Exception):
    """A mistake in a flag, a file or a folder, told in words the user can act on.

    The message names what is at fault, what was expected and the way out. Commands print it and exit with
    status 2; no traceback is shown.
    """
