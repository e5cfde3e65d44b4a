"""Text in, distilled text out: corpora are made, prepared, decoded, merged, cached and selected from."""
