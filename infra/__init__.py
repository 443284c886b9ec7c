"""What stands outside the process: local servers, topics, buckets, dashboards, alert rules, images."""
