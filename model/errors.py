"""What is wrong with a checkpoint or a request to it, told in one line."""


class CheckpointError(Exception):
    """A checkpoint folder that cannot be read. Scripts print it and exit with status 2."""
