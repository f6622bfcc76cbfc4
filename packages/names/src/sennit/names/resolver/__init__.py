"""The recursive resolver: a cache, and who fills it from the root down or from forwarders.

``resolver.py`` is what servers and programs use; ``iterate.py`` walks the tree,
``bailiwick.py`` says what of an answer may be believed, ``cache.py`` keeps it.
"""
