/* The kernels by number: each needs more of the CPU than the one before. */
#ifndef PYWG_CHAPOLY_LEVELS_H
#define PYWG_CHAPOLY_LEVELS_H

enum { CHAPOLY_NONE = 0, CHAPOLY_LEVEL_AVX2 = 2, CHAPOLY_LEVEL_AVX512 = 5, CHAPOLY_LEVEL_IFMA = 6 };

#endif
