"""Reading runs from Dify over its service API and its console API."""
