"""The benchmark of `make bench`: what Nexus's hot path costs beside servers that do nothing but answer.

Nothing here is collected by pytest; `python -m tests.load.bench` runs it.
"""
