"""Programs for people: what stands between a person and the library."""
