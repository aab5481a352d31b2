"""The small world: a generated language in which the truth about requests and replies is known."""
