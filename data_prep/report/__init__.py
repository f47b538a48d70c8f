"""The page `report.html` of a prepared set."""
