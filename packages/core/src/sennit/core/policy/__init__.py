"""Rules that any protocol can wear: time-outs, connection limits, and what they are built on."""
