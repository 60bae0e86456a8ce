"""What every connector that speaks HTTP needs, by composition: bodies, errors, paging guards."""
