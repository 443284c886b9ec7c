"""Grafana's dashboards and the data sources that they ask, as files that are mounted into it."""
