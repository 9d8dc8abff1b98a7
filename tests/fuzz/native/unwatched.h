/* For loops of the targets' own over bytes that are theirs: watched, they would take most of the time. */
#ifndef PYWG_FUZZ_UNWATCHED_H
#define PYWG_FUZZ_UNWATCHED_H

#ifdef __clang__
#define UNWATCHED __attribute__((no_sanitize("address", "undefined", "coverage")))
#else
#define UNWATCHED
#endif

#endif
