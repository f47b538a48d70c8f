"""Evaluation of classifiers: metrics, bootstrap intervals, tables and figures."""
