from typing import Any

# A peer in benchmarks: what it gives is not ours to check.
def __getattr__(name: str) -> Any: ...
