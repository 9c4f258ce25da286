"""``python -m bench`` with ``tests`` on the path: every figure, one table each."""

from bench import decisions

decisions.main()
