"""X-Cart 5.5: the native REST API, and the profile of stores with a custom module in front (compat)."""
