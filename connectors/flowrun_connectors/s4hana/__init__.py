"""SAP S/4HANA over OData V2 and V4."""
