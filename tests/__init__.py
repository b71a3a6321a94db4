"""The tests; they import their helpers as ``tests.support``."""
