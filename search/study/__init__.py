"""What a study is: its space, its model, its training, and the file that says so."""
