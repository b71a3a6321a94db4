"""Everything that is kept outside the process: keys, certificates, anchors, aliases, the secret, the delivery journal.

All input and output of key material is here. Stores are loaded when they are made and answer from memory; a reload
makes new ones. Each has ``problems`` (to be repaired) and ``warnings`` for ``check``.
"""

from gateway.stores.aliases import CsvAliases
from gateway.stores.anchors import FolderAnchors
from gateway.stores.certificates import FolderCertificates
from gateway.stores.journal import SqliteJournal
from gateway.stores.keyring import FolderKeyring
from gateway.stores.keys import SoftwareKey, check_private_file, load_private_key, read_passphrase
from gateway.stores.liveness import WorkerLock, remove_dead
from gateway.stores.material import Identity, Material, load_identities, load_identity, read_material
from gateway.stores.secret import load_or_create_secret

__all__ = [
    "CsvAliases",
    "FolderAnchors",
    "FolderCertificates",
    "FolderKeyring",
    "Identity",
    "Material",
    "SoftwareKey",
    "SqliteJournal",
    "WorkerLock",
    "check_private_file",
    "load_identities",
    "load_identity",
    "load_or_create_secret",
    "load_private_key",
    "read_material",
    "read_passphrase",
    "remove_dead",
]
