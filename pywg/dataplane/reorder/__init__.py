"""Floor 4: batches that several threads work on, and that leave in the order in which they came."""
