"""Grafana's boards as code: `python -m grafana` writes them as JSON that Grafana 10 to 13 load."""
