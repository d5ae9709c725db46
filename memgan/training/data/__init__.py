"""Makes training batches of photographs and drawn faces."""
