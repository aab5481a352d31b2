"""What is wrong with a checkpoint, an option or a prompt, told in one line."""


class CheckpointError(Exception):
    """A checkpoint folder that cannot be read. Scripts print it and exit with status 2."""


class OptionError(Exception):
    """An option that cannot be. Not a ValueError, which the reader of command lines would catch."""


class PromptError(ValueError):
    """A prompt that leaves no room for what is asked of the model."""
