"""Files to tensors: headers, sources, hashes and the names that tensors have in each layout."""
