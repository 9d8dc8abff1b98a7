"""The parts: one batch call at a time, in one process."""
