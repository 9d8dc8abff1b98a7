"""The data plane's concurrency, explored: every order of its threads' steps (python -m tests.model)."""
