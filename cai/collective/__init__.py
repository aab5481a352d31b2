"""Collective Constitutional AI: from a public's votes to a constitution (docs/collective.md)."""
