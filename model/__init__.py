"""Tokens to tensors: transformer, cache, generation, scoring, heads, tokenizer, checkpoints."""
