"""What is known of a model: its abilities from outcomes, and what a few probes say about a new one."""
