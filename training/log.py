"""Metrics to the stage's folder, to the terminal, and to wandb where asked."""

import json
import sys
from pathlib import Path
from types import TracebackType

from tqdm import tqdm


def lines_before(path: Path, step: int) -> list[str]:
    """The lines of earlier steps, in order; a line that a kill cut short is a later step's."""
    kept = []
    if step and path.exists():
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if not line.endswith("}\n") or json.loads(line)["step"] >= step:
                break
            kept.append(line)
    return kept


class Log:
    """One line of metrics a step: metrics.jsonl always, a progress bar, wandb where asked.

    With `resume_at` the lines of later steps are dropped first: they will be written again.
    """

    def __init__(self, folder: Path, stage: str, total: int, backend: str = "none",
                 config: dict | None = None, resume_at: int = 0, unit: str = "step"):
        path = folder / "metrics.jsonl"
        beside = folder / "metrics.partial"
        beside.write_text("".join(lines_before(path, resume_at)), encoding="utf-8")
        beside.replace(path)
        self.file = path.open("a", encoding="utf-8")
        self.bar = tqdm(total=total, initial=resume_at, desc=stage, unit=unit, file=sys.stderr,
                        dynamic_ncols=True, mininterval=0.5, leave=True)
        self.wandb = None
        if backend == "wandb":
            import wandb

            self.wandb = wandb.init(project="constitutional-ai", name=stage, config=config,
                                    dir=str(folder))

    def write(self, step: int, **metrics: float) -> None:
        """Keep the metrics of one step; the bar shows the first three."""
        self.file.write(json.dumps({"step": step, **metrics}) + "\n")
        self.file.flush()
        shown = {name: f"{value:.3g}" for name, value in list(metrics.items())[:3]}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(step + 1 - self.bar.n)
        if self.wandb is not None:
            self.wandb.log(metrics, step=step)

    def advanced(self, finished: int) -> None:
        """Move the bar by `finished` without metrics."""
        self.bar.update(finished)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.file.close()
        self.bar.close()
        if self.wandb is not None:
            self.wandb.finish(exit_code=int(kind is not None))
