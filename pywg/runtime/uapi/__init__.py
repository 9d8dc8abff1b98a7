"""The configuration socket: where it lies, and what is answered on it."""
