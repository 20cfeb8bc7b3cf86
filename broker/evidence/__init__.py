"""What keeps the trail evidence after the calls: heads signed and shipped, an index to search, retention, history."""
