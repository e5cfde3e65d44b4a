"""The one exception for mistakes a user can make."""

PREFIX = "fairseq_kd: error: "


class UserError(SystemExit):
    """A mistake of the user's, told in one line: what is wrong, where, what to do.

    It is a ``SystemExit`` because the plugin runs inside ``fairseq-train``, which catches nothing: Python prints
    the message alone, without a traceback, and exits with status 1. ``fairseq-kd`` behaves the same way.
    """

    def __init__(self, message: str):
        # An error that comes from another process is made of its own text.
        super().__init__(PREFIX + " ".join(message.split()).removeprefix(PREFIX))
