"""Turns logits into glosses: batched, jitted, with static shapes."""
