"""Blobs in packs: how bytes are kept, found again and cached."""
