"""The one exception whose message is written for the person at the keyboard."""


class InputError(ValueError):
    """Something given to numformer cannot be used; the message says what was got and what was expected."""
