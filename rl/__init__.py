"""Scores to gradients: preference loss, rewards, advantages, PPO. Tensors in, tensors out."""
