"""Pretrained feature networks of metrics and losses."""
