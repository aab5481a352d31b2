"""The options of PPO: every detail on which published implementations disagree, by name.

Sources in brackets: [CAI] arXiv 2212.08073; [HH] arXiv 2204.05862; [PPO] arXiv 1707.06347;
[Z19] Ziegler et al., arXiv 1909.08593; [N+] arXiv 2403.17031; [K3] Schulman, "Approximating KL
divergence" (2020). docs/ppo.md compares what each implementation chose.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from model.errors import OptionError

Estimator = Literal["k1", "k3"]
Whitening = Literal["shift", "scale", "none"]
MissingEnd = Literal["replace", "subtract"]
StopCheck = Literal["minibatch", "epoch"]
Advantages = Literal["gae", "rloo", "grpo"]


@dataclass(frozen=True)
class PPOOptions:
    """Options of one PPO update and of the rewards it learns from. OptionError: out of range."""

    kl_estimator: Estimator = "k1"
    """Per-token estimate of the KL to the reference that the reward pays for [K3]."""
    kl_coefficient: float = 0.2
    """Reward lost per nat of KL, or where an adaptive coefficient starts; [N+] 0.05, [HH] 0.001."""
    kl_target: float | None = None
    """KL per reply, in nats, that an adaptive coefficient steers to; none: fixed [Z19 §2.2]."""
    kl_horizon: float = 10_000
    """Replies over which the adaptive coefficient reacts [Z19]."""
    advantages: Advantages = "gae"
    """By a value model; or, without one, by the other replies to the prompt: RLOO or GRPO."""
    replies: int = 1
    """Replies sampled to each prompt; RLOO and GRPO need 2 at least."""
    gamma: float = 1.0
    """Discount per token, 0 to 1 [HH B.1]."""
    lam: float = 0.95
    """Lambda of generalised advantage estimation, 0 to 1 [N+]; OpenRLHF and verl take 1."""
    clip: float = 0.2
    """Half-width of the interval about 1 in which a probability ratio is free to move [PPO]."""
    value_clip: float = 0.2
    """Reward units that a value may move from its rollout value; 0: unclipped [N+]."""
    value_weight: float = 0.1
    """Weight of the value's loss in the gradient of a trunk that it shares with the policy [N+]."""
    whiten_advantages: Whitening = "shift"
    """Masked advantages to mean 0 and variance 1, to variance 1 only, or left alone [N+]."""
    whiten_rewards: bool = False
    """Divide the token rewards by their masked standard deviation; it shortens replies [N+]."""
    epochs: int = 2
    """Passes over each batch of rollouts; [HH B.1] K = 1, 2 or 4, [N+] 4."""
    minibatches: int = 4
    """Optimizer steps an epoch."""
    entropy_coefficient: float = 0.0
    """Loss taken off per nat of mean token entropy [HH B.1: none]."""
    max_grad_norm: float = 1.0
    """Largest gradient norm of policy and of value model, each alone; 0: no clipping."""
    stop_kl: float | None = None
    """Old-to-new KL in nats per token (k3) that ends an update early; none: never."""
    stop_check: StopCheck = "minibatch"
    """Compare with stop_kl before each step is taken, or once an epoch over its mean."""
    missing_end: MissingEnd = "replace"
    """A reply that never ended has its score replaced [Z19], or lowered (TRL)."""
    missing_end_value: float = -4.0
    """The replacing score, or the amount (not negative) taken off; preference model units."""
    temperature: float = 1.0
    """Divides the logits in sampling, policy, reference and update alike [CAI §3.2: 1]."""
    chunk_rows: int = 64
    """Rollouts in one forward pass; a matter of memory and speed, not of results."""

    def __post_init__(self) -> None:
        choices = {
            "kl_estimator": Estimator,
            "whiten_advantages": Whitening,
            "missing_end": MissingEnd,
            "advantages": Advantages,
            "stop_check": StopCheck,
        }
        for name, literal in choices.items():
            expected = get_args(literal)
            _require(getattr(self, name) in expected, self, name, f"one of {', '.join(expected)}")
        for name in ("kl_coefficient", "value_clip", "value_weight", "entropy_coefficient",
                     "max_grad_norm"):
            _require(0 <= getattr(self, name) < float("inf"), self, name, "a number from 0 up")
        for name in ("kl_horizon", "clip", "temperature"):
            _require(0 < getattr(self, name) < float("inf"), self, name, "a number above 0")
        for name in ("kl_target", "stop_kl"):
            value = getattr(self, name)
            _require(value is None or value > 0, self, name, "none or a number above 0")
        for name in ("gamma", "lam"):
            _require(0 <= getattr(self, name) <= 1, self, name, "a number from 0 to 1")
        for name in ("epochs", "minibatches", "chunk_rows", "replies"):
            _require(getattr(self, name) >= 1, self, name, "a whole number from 1 up")
        if self.advantages != "gae":
            _require(self.replies >= 2, self, "replies", f"2 or more with {self.advantages}")
        if self.missing_end == "subtract":
            _require(self.missing_end_value >= 0, self, "missing_end_value", "0 or more")
        if self.kl_target is not None:
            # A coefficient is adapted by multiplication, so zero would stay zero for ever.
            _require(self.kl_coefficient > 0, self, "kl_coefficient", "above 0 with a kl_target")


def _require(holds: bool, options: PPOOptions, name: str, expected: str) -> None:
    if not holds:
        raise OptionError(f"{name}: found {getattr(options, name)!r}, expected {expected}")
