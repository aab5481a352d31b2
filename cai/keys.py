"""Names for randomness: a key says whose noise it is, so nothing depends on batches or on order."""

import random


def noise_key(seed: int, *parts: object) -> str:
    """The key of one sampled text, such as "SEED/RECORD_ID/STEP/critique"."""
    return "/".join(str(part) for part in (seed, *parts))


def named_generator(seed: int, *parts: object) -> random.Random:
    """A generator of its own for every (seed, parts); the same on every machine."""
    return random.Random(noise_key(seed, *parts))
