"""Pretrained networks that metrics and losses look through."""
