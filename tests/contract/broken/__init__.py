"""A connector that keeps every promise, and twins of it that each break one."""
