"""Training pictures: photographs, drawn faces, and batches of both."""
