"""Upkeep: look (`verify`, `measure`), collect garbage, compact, mend, back up, purge. One noun, one file.

verifying     packs, manifests and catalog held against each other
measure       who holds the bytes
retention     which versions may go by rule
collection    `gc`: condemn, wait, look again, delete; with everything below it in one pass
liveness      which blobs standing versions need
relocation    blobs of some packs moved into new ones
compaction    sparse and small packs
orphans       objects that no row knows
epochs        the guard against two catalogs on one store
repairing     the index rebuilt from the packs
backups       catalog snapshots beside the packs, and back
purging       one blob's content removed from every version
"""

from headwater.upkeep.verifying import Finding, Verified, verify, verify_version

__all__ = ["Finding", "Verified", "verify", "verify_version"]
