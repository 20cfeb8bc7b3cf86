"""What the broker costs, as ratios beside direct calls in the same run: `make bench`."""
