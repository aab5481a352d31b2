"""What a benchmark says in one line before it ends."""


class BenchmarkError(Exception):
    """What a benchmark needs and does not find: a peer, a data file, a GPU."""
