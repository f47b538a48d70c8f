"""Picture files and arrays: reading, hashing, in-painting, statistics."""
