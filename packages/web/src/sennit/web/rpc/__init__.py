"""Calls of functions elsewhere: XML-RPC and JSON-RPC 2.0, typed in both directions.

``xmlrpc.py`` and ``jsonrpc.py`` hold what is served and what asks; functions are
declared in ``exposing.py``; ``conversion.py`` holds values against annotations.
"""
