"""OData V2 and V4 as SAP speaks them: metadata, literals, values, errors. For every connector that speaks OData."""
