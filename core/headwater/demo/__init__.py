"""`headwater demo`: a pipeline on real data, versioned before the reader's eyes."""
