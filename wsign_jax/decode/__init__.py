"""From logits to glosses: batched, jitted, static shapes."""
