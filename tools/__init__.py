"""What the workspace is kept with: checks, template, release, benchmarks. Not published."""

from __future__ import annotations
