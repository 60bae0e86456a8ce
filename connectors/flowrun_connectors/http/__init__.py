"""Any REST API, described in flowrun.yaml."""
