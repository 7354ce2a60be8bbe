"""What every engine process is: its main, its link to the server, its device, its sequences."""
