"""One mail transaction: the ports to the outside, and the one path of a message through the pure rooms.

Read :mod:`.pipeline` first. :mod:`.examine`, :mod:`.decide` (with :mod:`.gather` and :mod:`.resolve`), :mod:`.plan`,
:mod:`.build`, :mod:`.commit` (with :mod:`.claims`) and :mod:`.join` are its stages in their order; :mod:`.ports` is
what it needs from outside, :mod:`.record` what it tells when it has ended.
"""
