"""The testing kit: virtual clock, memory network, loopback pairs, engine suite, pytest plugin."""
