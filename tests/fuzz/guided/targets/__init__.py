"""The targets, a module each: `run(data)` raises when something is wrong; `TOKENS` is what mutations may put in.

A module here may hold on to nothing from one input to the next: an input that fails has to fail alone.
"""
