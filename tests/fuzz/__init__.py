"""Random inputs against an oracle, for as long as one likes: `python -m tests.fuzz --seconds 3600`.

A case is a function of a target's name, a seed and a number, and of nothing else, so that one that failed fails again:
what is printed says how. A short run of every target is part of the tests.
"""
