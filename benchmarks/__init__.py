"""Speed and memory of Headwater, beside its peers, measured in one run on one disk."""
