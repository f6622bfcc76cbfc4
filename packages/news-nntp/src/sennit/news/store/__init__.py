"""Where articles lie: ``sqlite.py`` keeps them in a file, ``memory.py`` in memory.

Both are an `IArticleStore` (``sennit.news.interfaces``), and one suite of tests holds for both.
"""
