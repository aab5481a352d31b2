"""Makes the stages of an experiment side by side, each in a process with its share of the cores.

A small model leaves most of a machine idle: two of its stages at once take less time than one after
the other.
"""

import multiprocessing
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

import torch

from experiments.runner import Runner, Work


def carry_out(runner: Runner, work: Work, jobs: int) -> None:
    """Make every stage wanted, `jobs` at a time, each once all that it reads is there.

    What a stage raises is raised here, after those beside it have ended.
    """
    waiting, running = dict(work.wanted), dict[Future, str]()
    share = max(1, torch.get_num_threads() // jobs)
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), torch.set_num_threads,
                             (share,)) as pool:
        while waiting or running:
            unmade = {*waiting, *running.values()}
            ready = [recipe for recipe, job in waiting.items() if not job.needs & unmade]
            for recipe in ready[:jobs - len(running)]:
                running[pool.submit(runner.make, *waiting.pop(recipe).step)] = recipe
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                del running[future]
                future.result()
