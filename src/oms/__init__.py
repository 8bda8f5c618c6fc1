"""Trademk1."""
