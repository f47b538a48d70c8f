"""Controlled comparisons: many runs that differ in one thing, each done once, and a table of their differences."""
