"""How good a classifier is, and how sure that is: metrics, bootstrap intervals, tables and figures of plain arrays."""
