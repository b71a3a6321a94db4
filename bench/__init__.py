"""Measurements of the whole gateway against a plain Postfix relay; ``README.md`` beside this says how to read them."""
