"""Zones: their records in memory, in files, in databases, and the look-up in them.

* ``node.py`` a name and its records, packed; ``rules.py`` what may stand together
* ``zone.py`` `Zone`, `Changes`; ``builder.py`` a zone out of records one by one;
  ``zoneset.py`` `ZoneSet`, the zones that a server answers for
* ``zonefile.py`` files (RFC 1035 §5), ``generate.py`` $GENERATE, ``writer.py`` files written,
  ``check.py`` what an operator should know about a zone, ``files.py`` folders of them, reloaded
* ``lookup.py`` the algorithm of RFC 1034 §4.3.2, ``proofs.py`` the records that prove an
  absence, ``chain.py`` their order, ``absent.py`` answers that many missing names have in common
* ``data.py`` zones that are elsewhere: ``sqlite.py``, ``callable.py``
"""
