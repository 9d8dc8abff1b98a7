"""The stages and leaves of the data plane: C without the GIL, written in Cython. Only `pywg._fastpath` uses them."""
