"""Floor 1: the kernel, libcrypto and the compiler, as Cython knows them."""
