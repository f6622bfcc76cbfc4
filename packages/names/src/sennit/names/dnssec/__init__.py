"""DNSSEC: signatures, proofs of absence, chains of trust.

``numbers.py``, ``canonical.py``, ``denial.py``, ``verdict.py`` and ``anchors.py`` need nothing
beyond this package; ``algorithms.py`` and what stands on it (``keys.py``, ``validation.py``,
``chain.py``) need the extra ``dnssec``.
"""
