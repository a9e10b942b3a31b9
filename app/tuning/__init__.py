"""Somebody's own pieces, taught to weights that come with the package (`musicgen train --from`)."""

REPORT, FACTS = "report", "report.json"  # in the folder of taught weights: samples and figures
