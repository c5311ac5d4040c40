"""The Prefect face: flows and tasks over the services.  Nothing else in Flowledger knows Prefect."""
