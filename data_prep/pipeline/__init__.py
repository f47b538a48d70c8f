"""A preparation from beginning to end: inspect, choose, fit, write."""
