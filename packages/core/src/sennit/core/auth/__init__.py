"""Who may come in: portals, checkers, password hashes and SASL; each module says its part."""
