"""Long and rough use of a real server: mixed load for hours, kills, stops, clients that hang up."""
