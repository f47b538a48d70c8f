"""How good a classifier is, and how certain that is: metrics, bootstrap intervals, tables and figures."""
