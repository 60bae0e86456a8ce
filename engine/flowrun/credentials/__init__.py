"""What credentials are: the schemes that ``auth:`` knows, with their settings, and the token a system gave."""
