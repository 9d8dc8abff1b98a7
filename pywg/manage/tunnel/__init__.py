"""`pywg up`, `down` and `reload`: the interface of a wg-quick file, set up, taken down and changed as a whole.

A change is a list of steps (`plan`), each with its undo (`steps`); a transaction carries them out, or takes them back.
What was done is remembered in a state file until the interface is taken down.
"""
