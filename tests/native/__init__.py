"""Python faces of the data plane's stages, for tests and benchmarks alone: `python -m tests.native` builds them."""
