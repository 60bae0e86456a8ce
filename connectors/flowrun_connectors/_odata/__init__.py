"""OData V2 and V4: metadata, values and literals, addresses, stable paging, error bodies."""
