"""sacreBLEU's scores and others of detokenised text, and what they are computed from."""
