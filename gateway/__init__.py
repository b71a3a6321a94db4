"""smime-gateway: an S/MIME gateway that stands in front of an MTA.

The rooms of this package, from the bottom up (a module imports only from its own room or a lower one):

0. ``errors outcome address envelope limits lookup documents settings``: the vocabulary
1. ``mime cms pkix``: octets, cryptographic messages, certificates; each knows nothing of the others
2. ``smime policy``: the two questions, how to protect and whether to; they meet only in ``transaction``
3. ``transaction``: the one path of a message, and the ports to the outside
4. ``smtp stores observe``: the outside
5. ``cli app``: commands and the object graph

``docs/architecture.md`` walks one message through them.
"""

__version__ = "0.1.0"
