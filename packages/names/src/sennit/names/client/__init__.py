"""The client: questions to servers, by every transport, and what is made of the answers.

``udp.py`` and ``stream.py`` carry one message to one server, ``https.py`` by HTTP;
``stub.py`` chooses servers, retries and caches; ``lookups.py`` gives typed answers.
"""
