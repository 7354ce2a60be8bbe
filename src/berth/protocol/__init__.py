"""The typed messages between the server and its engine processes."""
