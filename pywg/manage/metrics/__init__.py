"""`pywg metrics`: what daemons tell on their sockets for monitors, as Prometheus reads it.

`ask` asks all daemons at once within a bound; `families` says which metric each statistic is; `answer` makes a page of
both; `server` gives it to those that ask by HTTP; `names` has the operator's names of peers; `process` is the exporter
from start to end, and `confined` what it gives up. None of them uses a socket that can change anything or tell a key.
"""
