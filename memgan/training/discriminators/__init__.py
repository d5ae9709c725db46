"""Networks that tell restored pictures from real ones."""
