"""A peer's sides in a process of their own, with memory and threads of their own.

What two libraries free and allocate in one heap, and what they leave in one compiler, is no longer
either's: each is measured as those who use it alone would find it.
"""

import contextlib
import multiprocessing
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from multiprocessing.connection import Connection

import torch

from benchmarks.errors import BenchmarkError

Side = Callable[[], float]
"""Does the work once; returns the seconds that it took."""
Sides = Callable[[], Mapping[str, Side]]
"""Makes sides by name where they are to run: a function of a module, its arguments bound."""


@contextlib.contextmanager
def aside(make: Sides) -> Iterator[dict[str, Side]]:
    """The sides that `make` makes in a fresh process, which ends with this context.

    An error there is a BenchmarkError here.
    """
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(there, make, torch.get_num_threads()), daemon=True)
    process.start()
    there.close()
    try:
        yield {name: partial(answer, here, name) for name in answer(here)}
    finally:
        process.terminate()
        process.join()
        here.close()


def answer(connection: Connection, question: str | None = None) -> object:
    """What the other process says, to the name of a side: the seconds that it took."""
    try:
        if question is not None:
            connection.send(question)
        found = connection.recv()
    except (EOFError, OSError):
        raise BenchmarkError("the peer's process ended before its time") from None
    if isinstance(found, BenchmarkError):
        raise found
    return found


def serve(connection: Connection, make: Sides, threads: int) -> None:
    """Make the sides, say their names, and let each work when its name comes; until none does."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(EOFError):
            sides = make()
            connection.send(list(sides))
            while True:
                connection.send(sides[connection.recv()]())
    except BenchmarkError as error:
        connection.send(error)
    except Exception as error:
        traceback.print_exc()
        connection.send(BenchmarkError(f"{type(error).__name__}: {error}"))
